// How the server stands: its engine, its models and limits, said on the page.

import { ApiError, pause } from "./api.js";
import { $, tell } from "./dom.js";
import { clock } from "./times.js";

const LOOK_AGAIN_MS = 3000;
const WORDS = {
  ready: null,
  starting: "The model is starting; questions wait until it is there.",
  failing: "The last answers of the model failed; questions are still tried.",
  stopped: "The server is going down.",
};

/** Says so as long as the engine is not ready. */
export async function watchEngine(client) {
  for (;;) {
    const state = await client.engine();
    tell($("engine"), state in WORDS ? WORDS[state] : "The server cannot be reached.");
    if (state === "ready") return;
    await pause(LOOK_AGAIN_MS);
  }
}

/** Reads what is served and what may be sent. */
export async function readModels(client, settings, videos) {
  try {
    settings.offer(await client.models());
    tell($("models-error"), null);
    videos.limits = settings.limits;
    const { upload_mb: most, duration_s: longest } = settings.limits ?? {};
    const length = longest ? `, ${clock(longest, 0)} long` : "";
    tell($("limits"), most ? `Up to ${most} MiB${length}. It goes to this server and nowhere else.` : "");
  } catch (error) {
    const id = error instanceof ApiError && error.requestId ? ` (${error.code}, request ${error.requestId})` : "";
    tell($("models-error"), `${error.message}${id}`);
  }
}
