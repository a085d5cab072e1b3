// The clip, played in a loop and frame by frame: the file itself, or the server's frames where the browser cannot.

import { ApiError } from "./api.js";
import { $, tell } from "./dom.js";

const MOST_KEPT = 6; // clips whose frames are kept

export class LoopPlayer {
  #video = $("video");
  #still = $("still");
  #scrub = $("scrub");
  #frames = null; // [{time_s, jpeg}] where they stand in for the video
  #kept = new Map();
  #at = 0; // of the frames
  #isPlaying = false;
  #window = [0, Infinity];
  #fps = 25;
  #shown = null; // the clip
  #due = 0;
  #address;
  #isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** @param {(clip: object, what: string) => string} address */
  constructor(address) {
    this.#address = address;
    const video = this.#video;
    video.addEventListener("error", () => video.hasAttribute("src") && this.#standIn());
    video.addEventListener("loadedmetadata", () => {
      if (!video.videoWidth) this.#standIn();
      this.#limit();
    });
    for (const name of ["play", "pause", "seeked", "loadeddata"]) video.addEventListener(name, () => this.#draw());
    video.addEventListener("click", () => this.toggle());
    this.#still.addEventListener("click", () => this.toggle());
    this.#scrub.addEventListener("input", () => this.seek(Number(this.#scrub.value)));
    $("play").addEventListener("click", () => this.toggle());
    $("back").addEventListener("click", () => this.step(-1));
    $("forth").addEventListener("click", () => this.step(1));
    $("mute").addEventListener("click", () => this.mute());
    const follow = (now) => {
      this.#tick(now);
      requestAnimationFrame(follow);
    };
    requestAnimationFrame(follow);
  }

  /** Shows a clip; `problem` says why there is nothing to show. */
  show(clip, { start_s: start, end_s: end, video: problem } = {}) {
    this.#shown = clip;
    this.#frames = null;
    this.#window = [start ?? 0, end ?? Infinity];
    this.#isPlaying = !this.#isCalm;
    this.#still.hidden = true;
    const video = this.#video;
    video.pause();
    tell($("unplayable"), problem ? `${problem.code}: ${problem.message}` : "");
    video.hidden = Boolean(problem);
    if (problem) {
      video.removeAttribute("src");
      video.load();
    } else {
      video.src = this.#address(clip, "video") + (start || end ? `#t=${start ?? 0}` : "");
      if (this.#isPlaying) video.play().catch(() => {}); // an error comes as an event
      this.#ask(clip);
    }
    this.#draw();
  }

  async #ask(clip) {
    try {
      const reply = await fetch(this.#address(clip, "info"), { credentials: "omit" });
      const info = reply.ok ? await reply.json() : null;
      if (info?.fps > 0 && this.#shown === clip) this.#fps = info.fps;
    } catch {
      // the rate is a guess then
    }
  }

  /** The frames that the server's decoder reads, in the place of a file that the browser cannot play. */
  async #standIn() {
    const clip = this.#shown;
    this.#video.hidden = true;
    tell($("unplayable"), "Reading the frames; this browser cannot play the file.");
    try {
      if (!this.#kept.has(clip.id)) {
        const reply = await fetch(this.#address(clip, "frames"), { credentials: "omit" });
        const body = await reply.json();
        if (!reply.ok) throw new ApiError(reply.status, body.error?.code, body.error?.message);
        this.#kept.set(clip.id, body);
        if (this.#kept.size > MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value);
      }
      if (this.#shown !== clip) return;
      const body = this.#kept.get(clip.id);
      this.#frames = body.frames;
      this.#fps = body.fps;
      this.#at = 0;
      this.#due = performance.now();
      tell($("unplayable"), "");
      this.#still.hidden = false;
      this.#put();
    } catch (error) {
      if (this.#shown !== clip) return;
      const why = error instanceof ApiError ? `${error.code}: ${error.message}` : "The server cannot be reached.";
      tell($("unplayable"), why);
    }
  }

  get isStandIn() {
    return this.#frames !== null;
  }

  toggle() {
    if (this.#frames) this.#isPlaying = !this.#isPlaying;
    else if (this.#video.paused) this.#video.play().catch(() => {});
    else this.#video.pause();
    this.#draw();
  }

  mute() {
    this.#video.muted = !this.#video.muted;
    $("mute").setAttribute("aria-pressed", String(!this.#video.muted));
  }

  /** Goes so many frames on, and stops there. At either end it goes round. */
  step(frames) {
    if (this.#frames) {
      this.#isPlaying = false;
      this.#at = (this.#at + frames + this.#frames.length) % this.#frames.length;
      this.#put();
      return;
    }
    const video = this.#video;
    video.pause();
    const [start, end] = this.#span();
    const index = Math.round((video.currentTime - start) * this.#fps - 0.5) + frames;
    const count = Math.max(1, Math.round((end - start) * this.#fps));
    video.currentTime = Math.min(end, start + (((index % count) + count) % count + 0.5) / this.#fps);
  }

  seek(time) {
    if (!this.#frames) {
      this.#video.currentTime = time;
      return;
    }
    this.#isPlaying = false;
    this.#at = this.#frames.reduce((best, frame, at) => (Math.abs(frame.time_s - time) < Math.abs(this.#frames[best].time_s - time) ? at : best), 0);
    this.#put();
  }

  #span() {
    if (this.#frames) return [this.#frames[0].time_s, this.#frames.at(-1).time_s + 1 / this.#fps];
    const length = Number.isFinite(this.#video.duration) ? this.#video.duration : 0;
    return [Math.min(this.#window[0], length), Math.min(this.#window[1], length)];
  }

  #limit() {
    const [start] = this.#span();
    if (start && this.#video.currentTime < start) this.#video.currentTime = start;
    this.#draw();
  }

  #tick(now) {
    const video = this.#video;
    if (this.#frames) {
      if (!this.#isPlaying || now < this.#due) return;
      const here = this.#frames[this.#at].time_s;
      const next = this.#frames[this.#at + 1]?.time_s ?? here + 1 / this.#fps;
      this.#due = Math.max(this.#due, now - 100) + 1000 * (next - here);
      this.#at = (this.#at + 1) % this.#frames.length;
      this.#put();
    } else if (!video.paused) {
      if (video.currentTime >= this.#window[1] || video.currentTime < this.#window[0] - 0.05) video.currentTime = this.#window[0];
      this.#draw();
    }
  }

  #put() {
    this.#still.src = `data:image/jpeg;base64,${this.#frames[this.#at].jpeg}`;
    this.#still.alt = `Frame at ${this.#frames[this.#at].time_s.toFixed(2)} s`;
    this.#draw();
  }

  #draw() {
    const [start, end] = this.#span();
    const time = this.#frames ? this.#frames[this.#at].time_s : this.#video.currentTime;
    const isPlaying = this.#frames ? this.#isPlaying : !this.#video.paused;
    this.#scrub.min = String(start);
    this.#scrub.max = String(Math.max(end, start + 0.001));
    if (document.activeElement !== this.#scrub || isPlaying) this.#scrub.value = String(time);
    const text = end > start ? `${(time - start).toFixed(2)} / ${(end - start).toFixed(2)} s` : "";
    if ($("now").textContent !== text) {
      $("now").textContent = text;
      this.#scrub.setAttribute("aria-valuetext", text);
    }
    $("play").classList.toggle("playing", isPlaying);
    $("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    $("mute").hidden = this.isStandIn;
  }
}
