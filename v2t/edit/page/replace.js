// Find and replace over all captions: a preview with counts, then one step that undo takes back.

import { $, make, openDialog, tell } from "./dom.js";
import { difference, visible } from "./text.js";

const SHOWN = 60;
const TYPING_MS = 150;
const LONGEST_MS = 5000;

export class ReplaceDialog {
  #clips;
  #shown;
  #apply;
  #worker = null;
  #timers = [];
  #changes = [];

  /**
   * @param {import("./clips.js").Clips} clips
   * @param {{shown: () => object[], apply: (edits: object[], action: string) => Promise<object>}} options
   */
  constructor(clips, { shown, apply }) {
    this.#clips = clips;
    this.#shown = shown;
    this.#apply = apply;
    for (const id of ["find", "with", "regex", "whole", "exact", "only-shown"]) $(id).addEventListener("input", () => this.#soon());
    $("replace-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#replace();
    });
  }

  open() {
    openDialog($("replace"));
    $("find").select();
    this.#soon();
  }

  #soon() {
    this.#stop();
    this.#changes = [];
    $("replace-all").disabled = true;
    if (!$("find").value) {
      tell($("replace-count"), "");
      $("replace-preview").replaceChildren();
      return;
    }
    this.#timers.push(setTimeout(() => this.#look(), TYPING_MS));
  }

  #stop() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#worker?.terminate();
    this.#worker = null;
  }

  #look() {
    const among = ($("only-shown").checked ? this.#shown() : this.#clips.all).filter((clip) => clip.status === "ok");
    this.#worker = new Worker("page/replace_worker.js");
    this.#timers.push(setTimeout(() => {
      this.#stop();
      this.#fail("This pattern takes too long; make it simpler.");
    }, LONGEST_MS));
    this.#worker.onmessage = ({ data }) => {
      this.#stop();
      if (data.error) this.#fail(data.error);
      else this.#show(data, among.length);
    };
    this.#worker.onerror = () => {
      this.#stop();
      this.#fail("The preview could not be made.");
    };
    this.#worker.postMessage({
      find: $("find").value,
      by: $("with").value,
      regex: $("regex").checked,
      whole: $("whole").checked,
      exact: $("exact").checked,
      clips: among.map(({ id, captions }) => ({ id, captions })),
    });
  }

  #fail(text) {
    tell($("replace-count"), text);
    $("replace-preview").replaceChildren();
  }

  #show({ hits, changes }, among) {
    const empty = changes.filter(({ captions }) => captions.some((text) => !text.trim()));
    const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
    if (empty.length) {
      this.#fail(`${count(empty.length, "caption")} would be empty; reject these clips instead.`);
      return;
    }
    this.#changes = changes.map((change) => {
      const clip = this.#clips.byId.get(change.id);
      return { ...change, clip, revision: clip.revision };
    });
    tell($("replace-count"), `${count(hits, "hit")} in ${count(changes.length, "clip")} of ${among.toLocaleString("en")}`);
    const rows = this.#changes.slice(0, SHOWN).map(({ clip, captions }) => {
      const at = captions.findIndex((text, i) => text !== clip.captions[i]);
      const pieces = difference(clip.captions[at], captions[at]).map(({ kind, text }) => (
        make(kind === "in" ? "ins" : kind === "out" ? "del" : "span", {}, visible(text))
      ));
      return make("li", {}, make("small", {}, visible(clip.id)), make("p", { dir: "auto" }, ...pieces));
    });
    if (changes.length > SHOWN) rows.push(make("li", { className: "quiet" }, `and ${count(changes.length - SHOWN, "clip")} more`));
    $("replace-preview").replaceChildren(...rows);
    $("replace-all").disabled = !changes.length;
    $("replace-all").textContent = changes.length ? `Replace in ${count(changes.length, "clip")}` : "Replace";
  }

  async #replace() {
    if (!this.#changes.length) return;
    const edits = this.#changes.map(({ clip, revision, captions }) => ({ clip, revision, captions }));
    $("replace-all").disabled = true;
    try {
      await this.#apply(edits, "replace");
      $("replace").close();
    } catch (error) {
      this.#soon();
      tell($("replace-count"), error.code === "CONFLICT" ? "Some of these captions changed meanwhile. Look at the preview again." : error.message);
    }
  }
}
