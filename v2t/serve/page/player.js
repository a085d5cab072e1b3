// The video: playing, seeking, a range of it, and the frames the model is sent.
// In: a video's source, or none where this browser cannot play it (frames stand in for it then). Out: where it is, which
// range is marked ("range" events).

import { $, make } from "./dom.js";
import { clock } from "./times.js";

const NEAR_END_S = 0.05; // a seek to the very end would show nothing in some browsers

export class Player extends EventTarget {
  #video = $("video");
  #scrub = $("scrub");
  #time = 0; // where a video that cannot be played stands
  #duration = NaN;
  #in = null;
  #out = null;
  #frames = [];
  #source = null;
  #reason = ""; // why it cannot be played
  isPlayable = false;

  constructor() {
    super();
    const video = this.#video;
    for (const event of ["timeupdate", "seeked", "play", "pause", "ended"]) video.addEventListener(event, () => this.#draw());
    video.addEventListener("loadedmetadata", () => {
      this.#setDuration(video.duration);
      this.dispatchEvent(new CustomEvent("length", { detail: { duration: video.duration, width: video.videoWidth } }));
      if (!video.videoWidth) this.#fail("The browser finds no picture in it.");
    });
    video.addEventListener("error", () => this.#source && this.#fail("This browser cannot play it."));
    this.#scrub.addEventListener("input", () => this.seek(Number(this.#scrub.value), { isKept: true }));
    this.#scrub.addEventListener("keydown", (event) => {
      if (event.key === "Home") this.seek(0);
      else if (event.key === "End") this.seek(this.duration);
    });
    $("play").addEventListener("click", () => this.toggle());
    video.addEventListener("click", () => this.toggle());
    $("mute").addEventListener("click", () => this.mute());
    $("mark-in").addEventListener("click", () => this.markIn());
    $("mark-out").addEventListener("click", () => this.markOut());
    $("clear-range").addEventListener("click", () => this.clearRange());
    new ResizeObserver(() => this.#draw()).observe($("track"));
    const follow = () => {
      if (!video.paused) this.#draw();
      requestAnimationFrame(follow);
    };
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) follow();
  }

  /**
   * Shows a video.
   * @param {{name: string, type: string, duration: number|null}} video
   * @param {string|null} source what to play, or none
   */
  show(video, source) {
    this.#release();
    this.#in = this.#out = null;
    this.#time = 0;
    this.#frames = [];
    this.#duration = video.duration ?? NaN;
    this.#source = source;
    this.isPlayable = Boolean(source);
    $("player").hidden = false;
    $("unplayable").hidden = true;
    this.#video.setAttribute("aria-label", `The video ${video.name}`);
    this.#video.hidden = !source;
    const cannot = Boolean(video.type) && this.#video.canPlayType(video.type) === "";
    if (source && !cannot) this.#video.src = source;
    else if (source) this.#fail(`This browser cannot play ${video.type}.`);
    else this.#fail("The file is not in this browser.");
    this.#setDuration(this.#duration);
    this.#drawRange();
  }

  hide() {
    this.#release();
    this.#source = null;
    $("player").hidden = true;
  }

  #release() {
    const video = this.#video;
    video.pause();
    this.#source = null;
    if (video.hasAttribute("src")) {
      video.removeAttribute("src");
      video.load();
    }
  }

  #fail(reason) {
    this.isPlayable = false;
    this.#video.hidden = true;
    this.#reason = reason;
    $("unplayable").hidden = false;
    this.#explain();
    this.#draw();
    this.dispatchEvent(new Event("unplayable"));
  }

  /** Why it cannot be played; that it can be asked about all the same is said once the server has frames of it. */
  #explain() {
    const frames = " You can ask about it all the same; the frames that the model is sent stand in for it.";
    $("unplayable").textContent = `${this.#reason}${this.#frames.length ? frames : ""}`;
  }

  get time() {
    return this.isPlayable ? this.#video.currentTime : this.#time;
  }

  get duration() {
    return this.#duration;
  }

  /** What the server knows of the length, where the browser does not (a live recording, a codec it lacks). */
  knowDuration(duration) {
    if (!Number.isFinite(this.#duration) || !this.isPlayable) this.#setDuration(duration);
  }

  #setDuration(duration) {
    if (Number.isFinite(duration) && duration > 0) this.#duration = duration;
    this.#scrub.max = Number.isFinite(this.#duration) ? String(this.#duration) : "1";
    this.#draw();
    this.#drawRange();
  }

  seek(time, { isKept = false } = {}) {
    const last = Number.isFinite(this.#duration) ? this.#duration : Infinity;
    const to = Math.max(0, Math.min(time, isKept ? last : Math.max(0, last - NEAR_END_S)));
    this.#time = to;
    if (this.isPlayable) this.#video.currentTime = to;
    this.#draw();
  }

  toggle() {
    if (!this.isPlayable) return;
    if (this.#video.paused) this.#video.play().catch(() => {}); // refused without a gesture; the button stays "Play"
    else this.#video.pause();
  }

  mute() {
    this.#video.muted = !this.#video.muted;
    $("mute").setAttribute("aria-pressed", String(this.#video.muted));
  }

  // ---- range

  /** @returns {{start: number, end: number}|null} what is marked */
  get range() {
    if (this.#in === null && this.#out === null) return null;
    const last = Number.isFinite(this.#duration) ? this.#duration : (this.#out ?? this.#in + 1);
    return { start: this.#in ?? 0, end: this.#out ?? last };
  }

  markIn() {
    this.#in = round(this.time);
    if (this.#out !== null && this.#out <= this.#in) this.#out = null;
    this.#ranged();
  }

  markOut() {
    this.#out = round(this.time);
    if (this.#out <= (this.#in ?? 0)) this.#in = null;
    if (this.#out <= 0) this.#out = null;
    this.#ranged();
  }

  clearRange() {
    this.#in = this.#out = null;
    this.#ranged();
  }

  setRange(start, end) {
    [this.#in, this.#out] = [start, end];
    this.#ranged();
  }

  #ranged() {
    if (this.#in !== null && Number.isFinite(this.#duration) && this.#in >= this.#duration - 0.01) this.#in = null;
    this.#drawRange();
    this.dispatchEvent(new Event("range"));
  }

  // ---- drawing

  #share(time) {
    return Number.isFinite(this.#duration) && this.#duration > 0 ? Math.min(1, Math.max(0, time / this.#duration)) : 0;
  }

  #draw() {
    const time = this.time;
    if (document.activeElement !== this.#scrub || !this.#video.paused) this.#scrub.value = String(time);
    const length = Number.isFinite(this.#duration) ? clock(this.#duration) : "–";
    $("now").textContent = `${clock(time)} / ${length}`;
    this.#scrub.setAttribute("aria-valuetext", `${clock(time)} of ${length}`);
    const isPlaying = this.isPlayable && !this.#video.paused;
    $("play").classList.toggle("playing", isPlaying);
    $("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    $("play").disabled = $("mute").disabled = !this.isPlayable;
    const near = this.#nearest(time);
    const still = $("still");
    still.hidden = this.isPlayable || !near;
    if (!still.hidden && still.getAttribute("src") !== near.jpeg) {
      still.src = near.jpeg;
      still.alt = `Frame at ${clock(near.time_s)}`;
    }
    for (const [i, button] of [...$("frames").querySelectorAll("button")].entries()) {
      button.classList.toggle("near", this.#frames[i] === near);
    }
  }

  #nearest(time) {
    let best = null;
    for (const frame of this.#frames) {
      if (!best || Math.abs(frame.time_s - time) < Math.abs(best.time_s - time)) best = frame;
    }
    return best;
  }

  #drawRange() {
    const range = this.range;
    const band = $("band");
    band.hidden = !range;
    $("clear-range").hidden = !range;
    if (range) {
      band.style.left = `${100 * this.#share(range.start)}%`;
      band.style.width = `${100 * (this.#share(range.end) - this.#share(range.start))}%`;
    }
    $("ticks").replaceChildren(...this.#frames.map((frame) => {
      const tick = make("i");
      tick.style.left = `${100 * this.#share(frame.time_s)}%`;
      return tick;
    }));
  }

  /** The frames the model is sent, to be looked at and gone to. */
  showFrames(frames) {
    this.#frames = frames.filter((one) => /^data:image\/(jpeg|png|webp);base64,/.test(one.jpeg ?? "") && Number.isFinite(one.time_s));
    $("frames").replaceChildren(...this.#frames.map((frame) => make("li", {}, make(
      "button",
      { type: "button", "aria-label": `Frame at ${clock(frame.time_s)}; go there`, onclick: () => this.seek(frame.time_s) },
      make("img", { src: frame.jpeg, alt: "", loading: "lazy", decoding: "async" }),
      make("span", {}, clock(frame.time_s)),
    ))));
    if (!this.isPlayable) this.#explain();
    this.#drawRange();
    this.#draw();
  }
}

function round(s) {
  return Math.round(s * 100) / 100;
}
