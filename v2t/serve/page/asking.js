// One question from the moment it is put to the end of its answer: waits for the video and the engine, streams, stops.
// In: a session and a turn of it. Out: "update" events while the turn changes; a turn that is done, stopped or failed.

import { ApiError, patiently } from "./api.js";
import { messagesOf } from "./session.js";

const WHY = {
  ENGINE_DOWN: "The model is starting.",
  BUSY: "The server is busy.",
  RATE_LIMITED: "The server takes no more questions for now.",
};

export class Asking extends EventTarget {
  #client;
  #videos;
  #controller = null;

  constructor(client, videos) {
    super();
    this.#client = client;
    this.#videos = videos;
  }

  get isBusy() {
    return this.#controller !== null;
  }

  stop() {
    this.#controller?.abort();
  }

  /** Has the last turn of a session answered; never fails, the turn says how it went. */
  async run(session, turn) {
    const controller = new AbortController();
    this.#controller = controller;
    Object.assign(turn, { state: "waiting", answer: "", error: null, seen: null, warnings: [], finish: null, usage: null, waiting: "Waiting for the answer" });
    const changed = () => this.dispatchEvent(new CustomEvent("update", { detail: { session, turn } }));
    changed();
    try {
      await this.#answered(session, turn, controller.signal, changed);
      turn.state = "done";
    } catch (error) {
      if (error.name === "AbortError") turn.state = "stopped";
      else {
        turn.state = "failed";
        turn.error = told(error);
      }
    } finally {
      delete turn.waiting;
      if (this.#controller === controller) this.#controller = null;
      changed();
    }
  }

  async #answered(session, turn, signal, changed) {
    const wait = (text) => {
      turn.waiting = text;
      changed();
    };
    const { remember, mostVideos } = turn.settings;
    for (let isRenewed = false; ; isRenewed = true) {
      const plan = () => messagesOf(session.turns, session.videos, { remember, mostVideos });
      const used = session.videos.filter((video) => plan().sent.some((about) => about.key === video.key));
      for (const video of used) {
        if (!video.url && !video.fileId) wait("Sending the video");
        await this.#videos.ready(video, signal);
      }
      const { messages, sent, left } = plan(); // only now are all addresses known
      Object.assign(turn, { sent, left });
      wait("Waiting for the answer");
      const onWait = (seconds, error, tries) => {
        const count = tries > 1 ? `, try ${tries + 1}` : "";
        wait(`${WHY[error.code]} Asking again in ${seconds} s${count}.`);
      };
      try {
        await patiently(() => this.#stream(turn, messages, signal, changed), { signal, onWait });
        return;
      } catch (error) {
        const isForgotten = error instanceof ApiError && error.status === 404 && error.code === "NOT_FOUND";
        if (!isForgotten || isRenewed) throw error;
        wait("Sending the video again");
        if (!(await this.#videos.renew(used, signal))) throw error;
      }
    }
  }

  async #stream(turn, messages, signal, changed) {
    const { model, maxTokens, temperature } = turn.settings;
    Object.assign(turn, { answer: "", state: "waiting" });
    const body = { model, messages, max_tokens: maxTokens, temperature };
    const onProgress = ({ film, films, windows, of }) => {
      const which = films > 1 ? ` ${film} of ${films}` : "";
      turn.waiting = windows < of ? `Watching film${which}: ${windows} of ${of} windows` : "Waiting for the answer";
      changed();
    };
    for await (const piece of this.#client.chat(body, signal, onProgress)) {
      if (piece.requestId) turn.requestId = piece.requestId;
      if (piece.cineloop) this.#saw(turn, piece.cineloop);
      if (piece.finish) turn.finish = piece.finish;
      if (piece.usage) turn.usage = piece.usage;
      if (piece.text) {
        turn.state = "answering";
        turn.waiting = null;
        turn.answer += piece.text;
      }
      changed();
    }
  }

  #saw(turn, told) {
    // The videos are told of first; what the model thinks of them comes with its words.
    if (Array.isArray(told.warnings)) turn.warnings = told.warnings;
    if (!Array.isArray(told.videos)) return;
    turn.seen = told.videos;
    const about = turn.about.at(-1);
    const isRange = about && about.start !== null && about.start !== undefined;
    const at = turn.sent.findLastIndex((one) => one === about || (one.key === about?.key && one.start === about?.start));
    turn.offset = isRange ? (turn.seen[at]?.start_s ?? about.start) : null;
  }
}

function told(error) {
  if (error instanceof ApiError) return { message: error.message, code: error.code, requestId: error.requestId };
  return { message: `This page failed: ${error.message}`, code: "PAGE", requestId: null };
}
