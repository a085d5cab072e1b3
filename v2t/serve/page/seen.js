// What the model is sent of the shown video or range: frames, their times, what they cost, warnings. Asked of the server
// before a question, and told by its answers.

import { ApiError, patiently, pause } from "./api.js";
import { $, make } from "./dom.js";
import { seenText } from "./exports.js";
import { addressOf, warningsOf } from "./session.js";

const SETTLE_MS = 350; // marks are moved in steps

export class Seen extends EventTarget {
  #client;
  #videos;
  #player;
  #controller = null;
  #shown = "";

  constructor(client, videos, player) {
    super();
    this.#client = client;
    this.#videos = videos;
    this.#player = player;
  }

  clear() {
    this.#controller?.abort();
    this.#shown = "";
    $("seen").hidden = true;
    $("frames").replaceChildren();
    $("seen-warnings").replaceChildren();
    $("seen-text").textContent = "";
  }

  /** Asks for the frames of a video or a range of it; a later look takes the place of an earlier one. */
  async look(video, range, model) {
    if (!video.url && !video.fileId) return;
    const about = { key: video.key, start: range?.start ?? null, end: range?.end ?? null };
    const wanted = JSON.stringify([video.key, video.fileId, about.start, about.end]);
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    const { signal } = controller;
    $("seen").hidden = false;
    $("seen").setAttribute("aria-busy", "true");
    if (!$("seen-text").textContent) $("seen-text").textContent = "…";
    try {
      await pause(range ? SETTLE_MS : 0, signal);
      const ask = () => patiently(() => this.#client.frames(addressOf(video, about), model || undefined, signal), { signal, onWait: () => {} });
      this.#show(await this.#renewing(video, ask, signal), range);
    } catch (error) {
      if (error.name !== "AbortError") this.#failed(error);
    } finally {
      if (this.#controller === controller) $("seen").removeAttribute("aria-busy");
    }
  }

  async #renewing(video, ask, signal) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "NOT_FOUND" || video.url) throw error;
      if (!(await this.#videos.renew([video], signal))) throw error;
      return ask();
    }
  }

  #failed(error) {
    this.#shown = "";
    const id = error.requestId ? ` (${error.code}, request ${error.requestId})` : "";
    $("seen-text").textContent = `no frames: ${error.message}${id}`;
    this.#player.showFrames([]);
  }

  #show(told, range) {
    const frames = Array.isArray(told.frames) ? told.frames : [];
    if (!range && Number.isFinite(told.duration_s)) {
      this.#player.knowDuration(told.duration_s);
      if (!this.#player.isPlayable) this.dispatchEvent(new CustomEvent("length", { detail: told.duration_s }));
    }
    this.#line({ times_s: frames.map((frame) => frame.time_s), visual_tokens: told.visual_tokens, warnings: told.warnings });
    this.#player.showFrames(frames);
  }

  #line(seen) {
    $("seen").hidden = false;
    $("seen-text").textContent = seenText(seen) || "nothing";
    $("seen-warnings").replaceChildren(...warningsOf(seen).map((warning) => make("li", {}, warning)));
  }

  /** What a reply says it was made from: that line is the truth, whatever was expected. */
  told(turn, session) {
    const about = turn.about.at(-1);
    if (about?.key !== session.current) return;
    const at = turn.sent.findLastIndex((one) => one.key === about.key && one.start === about.start && one.end === about.end);
    const range = this.#player.range;
    const isSameRange = (range?.start ?? null) === about.start && (range?.end ?? null) === about.end;
    if (at < 0 || !turn.seen[at] || !isSameRange) return;
    this.#line({ ...turn.seen[at], warnings: [...turn.seen[at].warnings, ...turn.warnings] });
  }
}
