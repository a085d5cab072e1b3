// The videos of a session: taken in, checked, sent to the server once, sent again when it has forgotten them.
// In: files and addresses. Out: "change" events; addresses the server knows; sources for the player.

import { ApiError, patiently } from "./api.js";
import { KEPT_BYTES, newAddress, newVideo } from "./session.js";
import { clock, size } from "./times.js";

const SUFFIX = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m2ts|mts|ts|wmv|flv|ogv|3gp|gif)$/i;

export class Videos extends EventTarget {
  #client;
  #store;
  #states = new Map(); // key → {file, source, task, controller, share, error, wait}
  limits = null;

  constructor(client, store) {
    super();
    this.#client = client;
    this.#store = store;
  }

  /** What is going on with a video: `share` sent while it is being sent, `error` when it could not be. */
  state(video) {
    if (!this.#states.has(video.key)) this.#states.set(video.key, { file: null, source: null, task: null, share: null, error: null, wait: null });
    return this.#states.get(video.key);
  }

  #changed(video) {
    this.dispatchEvent(new CustomEvent("change", { detail: video }));
  }

  /** Why a file cannot be used, in words; null when it can. */
  objection(file) {
    const name = file.name || "The pasted file";
    if (!file.size) return `${name} is empty.`;
    if (file.type ? !/^(video\/|image\/gif|application\/(ogg|x-matroska|octet-stream))/.test(file.type) : !SUFFIX.test(file.name)) {
      return `${name} is not a video${file.type ? ` (${file.type})` : ""}.`;
    }
    const most = this.limits?.upload_mb;
    if (most && file.size > most * 1024 * 1024) {
      return `${name} has ${size(file.size)}; this server takes ${most} MiB at most. Cut it, or make it smaller.`;
    }
    return null;
  }

  /** Why a video's length is too much; null when it is not. */
  tooLong(duration) {
    const most = this.limits?.duration_s;
    if (!most || !Number.isFinite(duration) || duration <= most) return null;
    return `This video lasts ${clock(duration, 0)}; this server takes ${clock(most, 0)} at most. Cut it first.`;
  }

  /** Takes a file into the session; a video that lost its file gets it back. @returns {object} the video */
  add(session, file) {
    const lost = session.videos.find((one) => one.name === file.name && one.size === file.size && this.state(one).isLost);
    const video = lost ?? newVideo(file);
    if (!lost) session.videos.push(video);
    const state = this.state(video);
    this.#release(state);
    Object.assign(state, { file, isLost: false, error: null });
    if (file.size <= KEPT_BYTES) this.#store.keepBlob(video.key, file);
    if (!lost) this.send(video);
    return video;
  }

  addAddress(session, url) {
    const video = newAddress(url);
    session.videos.push(video);
    return video;
  }

  /** Sends a video to the server. @returns {Promise<void>} that never fails; `state(video).error` tells */
  send(video) {
    const state = this.state(video);
    state.controller = new AbortController();
    Object.assign(state, { share: 0, error: null, wait: null });
    const { signal } = state.controller;
    state.task = (async () => {
      try {
        const file = await this.#file(video);
        const options = { signal, onProgress: (share) => this.#progress(video, share) };
        const onWait = (seconds) => {
          state.wait = `The server is busy; sending again in ${seconds} s.`;
          this.#changed(video);
        };
        const kept = await patiently(() => this.#client.upload(file, video.name, options), { signal, onWait });
        video.fileId = kept.id;
      } catch (error) {
        state.error = error;
      } finally {
        Object.assign(state, { task: null, share: null, wait: null });
        this.#changed(video);
      }
    })();
    this.#changed(video);
    return state.task;
  }

  #progress(video, share) {
    const state = this.state(video);
    Object.assign(state, { share, wait: null });
    this.#changed(video);
  }

  cancel(video) {
    this.state(video).controller?.abort();
  }

  async #file(video) {
    const state = this.state(video);
    state.file ??= await this.#store.blob(video.key).catch(() => null);
    if (!state.file) {
      state.isLost = true;
      throw new ApiError(0, "GONE", `The server no longer has ${video.name}, and this browser did not keep it. Choose the file again.`);
    }
    return state.file;
  }

  /** Waits until a video is with the server. */
  async ready(video, signal) {
    if (video.url) return;
    const state = this.state(video);
    if (!state.task && !video.fileId) this.send(video);
    if (state.task) {
      const stopped = new Promise((_, failed) => {
        const stop = () => failed(new DOMException("called off", "AbortError"));
        if (signal.aborted) stop();
        else signal.addEventListener("abort", stop, { once: true });
      });
      await Promise.race([state.task, stopped]);
    }
    if (!video.fileId) throw state.error ?? new ApiError(0, "UPLOAD", "The video could not be sent.");
  }

  /** Sends again what the server has let go. @returns {Promise<boolean>} whether anything was missing */
  async renew(videos, signal) {
    let isRenewed = false;
    for (const video of videos) {
      if (video.url || !video.fileId || (await this.#client.hasFile(video.fileId, signal))) continue;
      video.fileId = null;
      await this.ready(video, signal);
      isRenewed = true;
    }
    return isRenewed;
  }

  /** What to play: the file, or the server's copy; null where there is neither. */
  async source(video) {
    const state = this.state(video);
    if (state.source) return state.source;
    state.file ??= await this.#store.blob(video.key).catch(() => null);
    if (state.file) {
      state.source = URL.createObjectURL(state.file);
      return state.source;
    }
    // Players send no key; without one the server's copy can be played from where it is.
    return video.fileId && !this.#client.key ? `v1/files/${encodeURIComponent(video.fileId)}/content` : null;
  }

  #release(state) {
    if (state.source) URL.revokeObjectURL(state.source);
    state.source = null;
  }

  /** Lets a video go, here and on the server. */
  async remove(session, video) {
    this.cancel(video);
    session.videos = session.videos.filter((one) => one !== video);
    await this.forget(video);
  }

  async forget(video) {
    const state = this.state(video);
    this.cancel(video);
    this.#release(state);
    this.#states.delete(video.key);
    await this.#store.forgetBlob(video.key).catch(() => {}); // nothing was kept
    if (video.fileId) this.#client.forgetFile(video.fileId).catch(() => {}); // it expires by itself
  }

  /** Frees the sources of a session that is left. */
  leave(session) {
    for (const video of session.videos) this.#release(this.state(video));
  }
}
