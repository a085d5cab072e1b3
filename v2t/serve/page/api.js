// The gateway's HTTP API: errors in words, uploads with progress, answers as they come.
// In: requests as objects. Out: replies as objects; every failure is an ApiError. Paths are relative to the page, so
// that it also works behind a proxy under a path.

const KEY = "cineloop.key";
const AGAIN = new Set(["ENGINE_DOWN", "BUSY", "RATE_LIMITED"]);
const LONGEST_WAIT_S = 60;

/** What went wrong, as the server says it, or in our words where it could not. */
export class ApiError extends Error {
  constructor(status, code, message, { param = null, requestId = null, retryAfter = null, body = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, requestId, retryAfter, body });
  }

  /** Whether asking again in a while makes sense. */
  get passes() {
    return AGAIN.has(this.code);
  }
}

function errorOf(status, body, header) {
  const error = body && typeof body === "object" ? body.error : null;
  const requestId = error?.request_id ?? header("X-Request-Id");
  const seconds = Number(header("Retry-After"));
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, LONGEST_WAIT_S) : null;
  const code = error?.code ?? `HTTP_${status}`;
  const message = typeof error?.message === "string" && error.message ? error.message : `The server answered with status ${status}.`;
  return new ApiError(status, code, message, { param: error?.param ?? null, requestId, retryAfter, body });
}

function unreachable() {
  return new ApiError(0, "UNREACHABLE", "The server cannot be reached. Is it still running?");
}

/** Waits, unless it is called off. */
export function pause(ms, signal) {
  return new Promise((done, failed) => {
    const stop = () => {
      clearTimeout(timer);
      failed(new DOMException("called off", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      done();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * `task`, and again as long as the server is busy or its engine is down, after as many seconds as it says.
 * @param {() => Promise<T>} task
 * @param {{signal?: AbortSignal, onWait: (seconds: number, error: ApiError, tries: number) => void}} options
 */
export async function patiently(task, { signal, onWait }) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await task();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passes) throw error;
      const wait = error.retryAfter ?? Math.min(2 ** Math.min(tries, 5), 20);
      const until = Date.now() + 1000 * (wait + 0.3 * Math.random());
      for (let left = wait; left > 0; left = (until - Date.now()) / 1000) {
        onWait(Math.ceil(left), error, tries);
        await pause(Math.min(1000, Math.max(20, 1000 * left)), signal);
      }
    }
  }
}

const PROGRESS = ": cineloop ";

/** Events of a `text/event-stream`, as the text of their data; `onProgress` is given what comments say of a long film. */
export async function* eventsOf(body, onProgress = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += value ?? "";
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = done ? "" : lines.pop();
      for (const line of lines) {
        if (line.startsWith(PROGRESS)) onProgress(line.slice(PROGRESS.length));
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) break;
    }
  } finally {
    reader.cancel().catch(() => {}); // the reader left early: the server is told by the closed connection
  }
}

export class Client {
  #askKey;

  /** @param {{askKey: (wasWrong: boolean) => Promise<string|null>}} options asks the reader for the server's key */
  constructor({ askKey }) {
    this.#askKey = askKey;
  }

  get key() {
    try {
      return sessionStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  set key(value) {
    try {
      sessionStorage.setItem(KEY, value);
    } catch {
      // storage is off: the key is asked for again
    }
  }

  #headers(more = {}) {
    const key = this.key;
    return key ? { ...more, Authorization: `Bearer ${key}` } : more;
  }

  /** `task`, with a key where one is wanted. Several requests that are refused ask once. */
  async #withKey(task) {
    for (;;) {
      const used = this.key;
      try {
        return await task();
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        if (this.key !== used) continue; // given meanwhile
        this.asking ??= this.#askKey(Boolean(used)).finally(() => {
          this.asking = null;
        });
        const key = await this.asking;
        if (!key) throw error;
        this.key = key;
      }
    }
  }

  async #send(path, { method = "GET", body, signal } = {}) {
    return this.#withKey(async () => {
      let reply;
      try {
        reply = await fetch(path, {
          method,
          signal,
          headers: this.#headers(body === undefined ? {} : { "Content-Type": "application/json" }),
          body: body === undefined ? undefined : JSON.stringify(body),
          cache: "no-store",
          credentials: "omit",
        });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw unreachable();
      }
      if (reply.ok) return reply;
      throw errorOf(reply.status, await reply.json().catch(() => null), (name) => reply.headers.get(name));
    });
  }

  /** The JSON that a route of the server answers. @param {{method?: string, body?: object, signal?: AbortSignal}} [options] */
  async json(path, options = {}) {
    return (await this.#send(path, options)).json();
  }

  async models() {
    return (await (await this.#send("v1/models")).json()).data;
  }

  /** @returns {Promise<string>} "ready", "starting", "stopped" or "unreachable" */
  async engine() {
    try {
      const reply = await fetch("health", { cache: "no-store", credentials: "omit" });
      return (await reply.json()).engine ?? "unreachable";
    } catch {
      return "unreachable";
    }
  }

  async frames(url, model, signal) {
    return (await this.#send("v1/frames", { method: "POST", body: { model, url }, signal })).json();
  }

  async hasFile(fileId, signal) {
    try {
      await this.#send(`v1/files/${encodeURIComponent(fileId)}`, { signal });
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
  }

  async forgetFile(fileId) {
    await this.#send(`v1/files/${encodeURIComponent(fileId)}`, { method: "DELETE" });
  }

  /** @param {(share: number) => void} onProgress 0 to 1 */
  async upload(file, name, { signal, onProgress }) {
    return this.#withKey(() => new Promise((done, failed) => {
      const request = new XMLHttpRequest(); // fetch cannot tell how much has been sent
      const form = new FormData();
      form.append("purpose", "user_data");
      form.append("file", file, name);
      request.open("POST", "v1/files");
      request.responseType = "json";
      for (const [header, value] of Object.entries(this.#headers())) request.setRequestHeader(header, value);
      request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
      request.onload = () => {
        if (request.status >= 200 && request.status < 300 && request.response) done(request.response);
        else failed(errorOf(request.status, request.response, (header) => request.getResponseHeader(header)));
      };
      request.onerror = () => failed(unreachable());
      request.onabort = () => failed(new DOMException("called off", "AbortError"));
      signal?.addEventListener("abort", () => request.abort(), { once: true });
      request.send(form);
    }));
  }

  /**
   * A chat completion as it comes; `onProgress` is given {film, films, windows, of} while a long film is watched.
   * @yields {{text?: string, cineloop?: object, finish?: string, usage?: object}}
   */
  async *chat(body, signal, onProgress = () => {}) {
    const reply = await this.#send("v1/chat/completions", {
      method: "POST",
      body: { ...body, stream: true, stream_options: { include_usage: true } },
      signal,
    });
    const requestId = reply.headers.get("X-Request-Id");
    yield { requestId };
    let isDone = false;
    try {
      const progressed = (text) => {
        const { progress } = chunkOf(text, requestId, true);
        if (progress) onProgress(progress);
      };
      for await (const data of eventsOf(reply.body, progressed)) {
        if (data === "[DONE]") {
          isDone = true;
          break;
        }
        yield chunkOf(data, requestId);
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof ApiError) throw error;
      throw broken(requestId);
    }
    if (!isDone) throw broken(requestId);
  }
}

function broken(requestId) {
  return new ApiError(0, "BROKEN_OFF", "The answer broke off: the connection ended before it was complete.", { requestId });
}

function chunkOf(data, requestId, isComment = false) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError(0, "BAD_STREAM", "The server sent a piece of the answer that cannot be read.", { requestId });
  }
  if (isComment) return { progress: chunk.progress };
  if (chunk.error) throw errorOf(chunk.error.status ?? 0, chunk, () => requestId);
  const choice = chunk.choices?.[0];
  const text = choice?.delta?.content;
  return {
    text: typeof text === "string" ? text : undefined,
    cineloop: chunk.cineloop,
    finish: choice?.finish_reason ?? undefined,
    usage: chunk.usage ?? undefined,
  };
}
