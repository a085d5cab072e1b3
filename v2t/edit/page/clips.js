// The clips of the folder and their edits on the way to the server.
// In: what the server lists, edits that a person makes. Out: events "clips" (some changed), "state" (how saving stands),
// "conflict" and "renumbered". Edits are sent one after another in the order in which they were made; one that cannot be
// sent waits, and is sent again. An edit names the revision that the person saw, so that nobody overwrites another.

import { ApiError, pause } from "./api.js";

const LOOK_MS = 2000;
const AGAIN_MS = 1500;
const SEEN_MS = 400;

export const KINDS = [
  ["all", "All clips", () => true],
  ["unseen", "Not seen", (clip) => !clip.seen],
  ["failed", "Failed", (clip) => clip.status !== "ok"],
  ["warned", "With warnings", (clip) => clip.warnings.length > 0],
  ["doubted", "Doubted", (clip) => (clip.doubt ?? 0) >= 0.5],
  ["look", "Needs a look", (clip) => clip.review === "look"],
  ["accepted", "Accepted", (clip) => clip.review === "accepted"],
  ["rejected", "Rejected", (clip) => clip.review === "rejected"],
  ["edited", "Edited", (clip) => clip.edited],
  ["several", "Several captions", (clip) => clip.captions.length > 1],
];

export class Clips extends EventTarget {
  #client;
  #tasks = [];
  #isSending = false;
  #bumps = new Map(); // "id revision" → the revision that our own edit made of it
  #seen = new Set();
  #timer = 0;

  constructor(client) {
    super();
    this.#client = client;
    this.all = [];
    this.byId = new Map();
    this.about = {};
    this.person = "";
  }

  /** Reads the whole list. */
  async load() {
    const { clips, ...about } = await this.#client.json("v1/clips");
    this.about = about;
    this.all = clips;
    this.byId = new Map(clips.map((clip) => [clip.id, clip]));
    for (const clip of clips) index(clip);
  }

  /** Looks for what other tabs and people changed, for ever. */
  async watch() {
    for (;;) {
      await pause(LOOK_MS);
      if (document.hidden) continue;
      try {
        await this.#look();
      } catch (error) {
        this.#say(error);
      }
    }
  }

  async #look() {
    const { sequence } = this.about;
    const news = await this.#client.json(`v1/changes?since=${sequence}`);
    if (news.epoch !== this.about.epoch || news.all) {
      await this.load();
      this.dispatchEvent(new Event("renumbered"));
    } else {
      this.about.formats = news.formats;
      if (news.sequence > this.about.sequence) this.about.sequence = news.sequence;
      this.take(news.clips);
    }
    if (!this.#tasks.length) this.#say(null);
  }

  /** Puts newer rows in the place of those we have. */
  take(rows) {
    const ids = [];
    for (const row of rows) {
      const clip = this.byId.get(row.id);
      if (!clip || row.revision < clip.revision || (row.revision === clip.revision && row.seen === clip.seen)) continue;
      delete clip.pending;
      Object.assign(clip, row);
      index(clip);
      ids.push(row.id);
    }
    if (ids.length) this.dispatchEvent(new CustomEvent("clips", { detail: ids }));
  }

  get waiting() {
    return this.#tasks.length;
  }

  /**
   * Edits in one step. What the page shows follows at once; the promise is of what the server says.
   * @param {{clip: object, revision: number, captions?: string[], review?: string, tags?: string[]}[]} edits
   */
  edit(edits, action) {
    for (const { clip, ...change } of edits) {
      clip.pending = { ...clip.pending, ...pick(change, ["captions", "review", "tags"]) };
      if (action !== "replace") clip.seen = true;
      index(clip);
    }
    this.dispatchEvent(new CustomEvent("clips", { detail: edits.map(({ clip }) => clip.id) }));
    return this.#queue(() => this.#client.json("v1/edits", {
      method: "POST",
      body: {
        by: this.person || undefined,
        action,
        edits: edits.map(({ clip, revision, ...change }) => ({ id: clip.id, revision: this.#now(clip.id, revision), ...change })),
      },
    }), edits);
  }

  /** Takes the last step of this person back, or does it again. */
  undo(redo = false) {
    return this.#queue(() => this.#client.json("v1/undo", { method: "POST", body: { by: this.person || undefined, redo } }), []);
  }

  /** The answers of the model about a clip. */
  async ask(clip, wanted, signal) {
    const body = { id: clip.id, ...wanted };
    return (await this.#client.json("v1/answers", { method: "POST", body, signal })).answers;
  }

  detail(clip, signal) {
    return this.#client.json(`v1/clips/${clip.n}`, { signal });
  }

  /** Where the server has something of a clip. */
  address(clip, what) {
    return `${this.about.media}${clip.n}/${what}`;
  }

  /** Notes that the person has looked at a clip. */
  see(clip) {
    if (clip.seen) return;
    clip.seen = true;
    this.#seen.add(clip.id);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#sendSeen(), SEEN_MS);
    this.dispatchEvent(new CustomEvent("clips", { detail: [clip.id] }));
  }

  async #sendSeen() {
    const ids = [...this.#seen];
    this.#seen.clear();
    try {
      await this.#client.json("v1/seen", { method: "POST", body: { by: this.person || undefined, ids } });
    } catch (error) {
      for (const id of ids) this.#seen.add(id);
      if (error instanceof ApiError && error.status === 0) this.#timer = setTimeout(() => this.#sendSeen(), AGAIN_MS);
    }
  }

  // ---- sending

  #now(id, revision) {
    let now = revision;
    while (this.#bumps.has(`${id} ${now}`)) now = this.#bumps.get(`${id} ${now}`);
    return now;
  }

  #queue(send, edits) {
    return new Promise((done, failed) => {
      this.#tasks.push({ send, edits, done, failed });
      this.#say(null);
      this.#work();
    });
  }

  async #work() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#tasks.length) {
      const task = this.#tasks[0];
      try {
        const reply = await task.send();
        for (const row of reply.clips) {
          const clip = this.byId.get(row.id);
          if (clip && clip.revision < row.revision) this.#bumps.set(`${row.id} ${clip.revision}`, row.revision);
          if (clip) delete clip.pending;
        }
        this.#tasks.shift();
        if (reply.epoch === this.about.epoch) this.about.formats = reply.formats;
        this.take(reply.clips);
        task.done(reply);
      } catch (error) {
        if (error instanceof ApiError && (error.status === 0 || error.passes || error.status === 507)) {
          this.#say(error);
          await pause(1000 * (error.retryAfter ?? 0) || AGAIN_MS);
          continue;
        }
        this.#tasks.shift();
        for (const { clip } of task.edits) {
          delete clip.pending;
          index(clip);
        }
        if (error instanceof ApiError && error.code === "CONFLICT" && error.body?.clips) this.take(error.body.clips);
        this.dispatchEvent(new CustomEvent("clips", { detail: task.edits.map(({ clip }) => clip.id) }));
        task.failed(error);
      }
      this.#say(null);
    }
    this.#isSending = false;
  }

  #say(error) {
    this.dispatchEvent(new CustomEvent("state", { detail: { error, waiting: this.#tasks.length } }));
  }

  // ---- choosing

  /** The clips of a kind that hold all words, in the server's order. */
  choose(kind, words) {
    const [, , fits] = KINDS.find(([name]) => name === kind) ?? KINDS[0];
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    return this.all.filter((clip) => fits(shown(clip)) && wanted.every((word) => clip.words.includes(word)));
  }

  /** How many clips there are of each kind. */
  counts() {
    return KINDS.map(([name, label, fits]) => [name, label, this.all.reduce((sum, clip) => sum + fits(shown(clip)), 0)]);
  }
}

/** A clip with the edits of it that are on their way. */
export function shown(clip) {
  return clip.pending ? { ...clip, ...clip.pending } : clip;
}

function index(clip) {
  const { captions, tags } = shown(clip);
  const warnings = clip.warnings.map((warning) => `${warning.code} ${warning.message}`);
  clip.words = [clip.id, ...captions, ...tags, ...warnings, clip.error?.code ?? ""].join("\n").toLowerCase();
}

function pick(object, names) {
  return Object.fromEntries(names.filter((name) => object[name] !== undefined).map((name) => [name, object[name]]));
}
