// What this browser keeps: sessions, and the videos of them that are small enough. IndexedDB; memory where there is none.
// In and out: plain objects with a key, and Blobs. Nothing leaves the machine.

const NAME = "cineloop";
const CURRENT = "cineloop.session";

export class Store {
  #db = null;
  #memory = { sessions: new Map(), blobs: new Map() };

  /** @returns {Promise<boolean>} whether what is kept outlives this page */
  async open() {
    try {
      this.#db = await new Promise((done, failed) => {
        const asked = indexedDB.open(NAME, 1);
        asked.onupgradeneeded = () => {
          asked.result.createObjectStore("sessions", { keyPath: "id" });
          asked.result.createObjectStore("blobs");
        };
        asked.onsuccess = () => done(asked.result);
        asked.onerror = () => failed(asked.error);
        asked.onblocked = () => failed(new Error("another page holds the history"));
      });
      this.#db.onversionchange = () => this.#db.close();
    } catch {
      this.#db = null; // private windows of some browsers: this page alone remembers
    }
    return this.#db !== null;
  }

  #run(table, mode, work) {
    return new Promise((done, failed) => {
      const transaction = this.#db.transaction(table, mode);
      const asked = work(transaction.objectStore(table));
      if (mode === "readwrite") transaction.commit(); // goes through even when the page is left at this moment
      transaction.oncomplete = () => done(asked?.result);
      transaction.onerror = transaction.onabort = () => failed(transaction.error ?? new Error("not kept"));
    });
  }

  async sessions() {
    const all = this.#db ? await this.#run("sessions", "readonly", (t) => t.getAll()) : [...this.#memory.sessions.values()];
    return all.sort((a, b) => b.updated - a.updated);
  }

  async keep(session) {
    const copy = structuredClone(session);
    if (this.#db) await this.#run("sessions", "readwrite", (t) => t.put(copy));
    else this.#memory.sessions.set(copy.id, copy);
  }

  async forget(session) {
    for (const video of session.videos) await this.#drop("blobs", video.key);
    await this.#drop("sessions", session.id);
  }

  async #drop(table, key) {
    if (this.#db) await this.#run(table, "readwrite", (t) => t.delete(key));
    else this.#memory[table].delete(key);
  }

  async forgetBlob(key) {
    await this.#drop("blobs", key);
  }

  async blob(key) {
    return (this.#db ? await this.#run("blobs", "readonly", (t) => t.get(key)) : this.#memory.blobs.get(key)) ?? null;
  }

  /** @returns {Promise<boolean>} whether it was kept; a full disk is no reason to stop */
  async keepBlob(key, blob) {
    try {
      if (this.#db) await this.#run("blobs", "readwrite", (t) => t.put(blob, key));
      else this.#memory.blobs.set(key, blob);
      return true;
    } catch {
      return false;
    }
  }
}

/** The session this tab shows; another tab may show another one. */
export const current = {
  get() {
    try {
      return sessionStorage.getItem(CURRENT) ?? localStorage.getItem(CURRENT);
    } catch {
      return null;
    }
  },
  set(id) {
    try {
      sessionStorage.setItem(CURRENT, id);
      localStorage.setItem(CURRENT, id);
    } catch {
      // storage is off: a refresh begins anew
    }
  },
};
