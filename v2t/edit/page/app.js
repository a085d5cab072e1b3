// The editor: a list of clips, the one that plays, its captions, a verdict, keys for all of it.

import { ApiError, Client } from "./api.js";
import { AnswerDialog } from "./answers.js";
import { Clips, KINDS, shown } from "./clips.js";
import { chooseText } from "./conflict.js";
import { askKey } from "./dialogs.js";
import { $, announce, make, openDialog, tell } from "./dom.js";
import { CaptionForm } from "./form.js";
import { KEYS, listen } from "./keys.js";
import { ClipList } from "./list.js";
import { LoopPlayer } from "./loop.js";
import { ReplaceDialog } from "./replace.js";
import { clock } from "./times.js";
import { visible } from "./text.js";

const SEEN_MS = 800;
const TYPING_MS = 120;
const TOAST_MS = 4000;
const PERSON = "cineloop.edit.person";
const VERDICTS = { accept: "accepted", reject: "rejected", look: "look" };

class Editor {
  clips = new Clips(new Client({ askKey }));
  current = null;
  #seenTimer = 0;
  #wordsTimer = 0;
  #toastTimer = 0;
  #reading = null; // AbortController of the current clip's details

  async start() {
    try {
      await this.clips.load();
    } catch (error) {
      tell($("trouble"), error.message);
      return;
    }
    const { about } = this.clips;
    tell($("folder"), about.folder);
    document.title = `${about.folder}: edit captions`;
    this.form = new CaptionForm(about.folder);
    this.player = new LoopPlayer((clip, what) => this.clips.address(clip, what));
    this.list = new ClipList($("list"), $("sheet"), (clip) => (about.has_strips && clip.status === "ok" ? this.clips.address(clip, "strip") : null));
    this.replaceDialog = new ReplaceDialog(this.clips, { shown: () => this.list.clips, apply: (edits, action) => this.#send(edits, action) });
    this.answerDialog = new AnswerDialog(this.clips, this.form);
    $("kind").replaceChildren(...KINDS.map(([name, label]) => make("option", { value: name }, label)));
    this.#wire();
    this.#count();
    this.#filter();
    this.#person();
    const first = this.clips.all.find((clip) => !clip.seen) ?? this.clips.all[0];
    await this.open(first);
    ($("list").checkVisibility() ? $("list") : $("name")).focus({ preventScroll: true });
    this.clips.watch();
  }

  #wire() {
    const { clips, form, list } = this;
    clips.addEventListener("clips", ({ detail: ids }) => this.#changed(ids));
    clips.addEventListener("state", ({ detail }) => this.#state(detail));
    clips.addEventListener("renumbered", () => this.#renumbered());
    form.addEventListener("change", () => this.#drawSaving());
    list.addEventListener("choose", ({ detail }) => this.go(detail, { isHere: true }));
    $("kind").addEventListener("change", () => this.#filter());
    $("words").addEventListener("input", () => {
      clearTimeout(this.#wordsTimer);
      this.#wordsTimer = setTimeout(() => this.#filter(), TYPING_MS);
    });
    $("tags").addEventListener("change", () => this.saveTags());
    $("save").addEventListener("click", () => this.save());
    $("undo").addEventListener("click", () => this.undo());
    $("open-replace").addEventListener("click", () => this.replace());
    $("open-answers").addEventListener("click", () => this.ask());
    $("open-help").addEventListener("click", () => this.help());
    $("open-list").addEventListener("click", () => this.toggleList());
    $("add-caption").addEventListener("click", () => form.add());
    $("previous").addEventListener("click", () => this.move(-1));
    $("next").addEventListener("click", () => this.move(1));
    for (const name of Object.keys(VERDICTS)) $(name).addEventListener("click", () => this.judge(name));
    window.addEventListener("beforeunload", (event) => {
      form.keep();
      if (clips.waiting) event.preventDefault();
    });
    document.addEventListener("visibilitychange", () => document.hidden && form.keep());
    $("key-list").replaceChildren(...KEYS.flatMap(([keys, , text]) => [make("dt", {}, ...keys.map((key) => make("kbd", {}, key))), make("dd", {}, text)]));
    listen(this);
  }

  // ---- where one is

  /** Saves what was typed and goes to a clip. */
  go(clip, { isHere = false } = {}) {
    if (!clip || clip === this.current) return;
    this.save({ isQuiet: true });
    this.open(clip, { isHere });
  }

  move(steps) {
    this.go(this.list.beside(this.current, steps));
  }

  nextUnseen() {
    const { clips } = this.list;
    const at = clips.indexOf(this.current);
    const next = [...clips.slice(at + 1), ...clips.slice(0, at + 1)].find((clip) => !clip.seen);
    if (next) this.go(next);
    else this.toast("All clips shown here were seen.");
  }

  async open(clip, { isHere = false } = {}) {
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    this.current = clip;
    this.detail = null;
    this.#draw();
    this.list.select(clip, { isShown: !isHere });
    clearTimeout(this.#seenTimer);
    this.#seenTimer = setTimeout(() => this.clips.see(clip), SEEN_MS);
    announce(`${clip.id}, ${this.list.clips.indexOf(clip) + 1} of ${this.list.clips.length}`);
    try {
      const detail = await this.clips.detail(clip, reading.signal);
      if (this.current !== clip || detail.id !== clip.id) return;
      this.detail = detail;
      this.clips.take([detail]);
      this.player.show(clip, detail);
      this.#drawDetail();
    } catch (error) {
      if (error.name !== "AbortError") this.#state({ error, waiting: this.clips.waiting });
    }
  }

  #draw() {
    const clip = shown(this.current);
    $("name").textContent = visible(clip.id);
    const at = this.list.clips.indexOf(this.current);
    const where = at < 0 ? "not among the clips shown" : `${(at + 1).toLocaleString("en")} of ${this.list.clips.length.toLocaleString("en")}`;
    const doubt = clip.doubt ? ` · doubt ${clip.doubt.toFixed(2)}` : "";
    $("place").textContent = where + doubt;
    const isDraft = this.form.show(this.current, clip.captions);
    tell($("draft"), isDraft ? "What you typed here before is back; it is not saved. " : "");
    if (isDraft) $("draft").append(make("button", { type: "button", onclick: () => this.form.reset() }, "Drop it"));
    $("tags").value = clip.tags.join(", ");
    this.#drawState();
    $("parts").hidden = true;
    tell($("made"), "");
  }

  #drawState() {
    const clip = shown(this.current);
    const failure = clip.status === "ok" || !clip.error ? "" : `${clip.error.code}: ${visible(clip.error.message)}`;
    tell($("failure"), failure && `${failure}. Write a caption, or reject it.`);
    const notes = clip.warnings.map((warning) => `${warning.code}: ${visible(warning.message)}`);
    if (clip.claim && clip.doubt >= 0.3) notes.unshift(`Doubted: ${visible(clip.claim)} (${clip.doubt.toFixed(2)})`);
    $("warnings").replaceChildren(...notes.map((text) => make("li", {}, text)));
    for (const [name, review] of Object.entries(VERDICTS)) $(name).setAttribute("aria-pressed", String(clip.review === review));
    this.#drawSaving();
  }

  #drawDetail() {
    const { segments, made, edit, duration_s: length } = this.detail;
    $("parts").hidden = !segments.length;
    $("part-list").replaceChildren(...segments.map((part) => make("li", {},
      make("button", { type: "button", onclick: () => this.player.seek(part.start_s) }, `${clock(part.start_s)} to ${clock(part.end_s)}`),
      make("span", { dir: "auto" }, visible(part.caption ?? "")))));
    const when = edit?.at ? new Date(1000 * edit.at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "";
    const by = edit ? (edit.action === "file" ? `its .txt was written by hand, ${when}` : `${edit.action} by ${edit.by}, ${when}`) : null;
    tell($("made"), [made.model && `${made.model} (${made.style})`, length && `${length.toFixed(1)} s`, by].filter(Boolean).map(visible).join(" · "));
  }

  #drawSaving() {
    const isChanged = this.form.isChanged;
    $("save").disabled = !isChanged;
    const { waiting } = this.clips;
    const formats = { written: "", pending: " · formats follow", DISK_FULL: " · the disk is full, formats wait" };
    const state = this.clips.about.formats;
    const text = isChanged ? "Not saved yet" : waiting ? `Saving ${waiting}` : `Saved${formats[state] ?? ` · formats are not written: ${state}`}`;
    if ($("saved").textContent !== text) $("saved").textContent = text;
  }

  // ---- what a person does

  /** Saves what was typed. @returns {Promise|null} */
  save({ isQuiet = false, review } = {}) {
    const { form, current: clip } = this;
    if (!clip) return null;
    const captions = form.captions;
    const edit = { clip, revision: form.revision };
    const isTyped = form.isChanged && JSON.stringify(captions) !== JSON.stringify(shown(clip).captions);
    if (isTyped && !captions.length) {
      this.toast("A caption must not be empty. Reject the clip to leave it out.");
      form.reset();
      if (review === undefined) return null;
    } else if (isTyped) {
      edit.captions = captions;
    }
    if (review !== undefined) edit.review = review;
    if (edit.captions === undefined && edit.review === undefined) {
      if (form.isChanged) form.reset();
      return null;
    }
    if (edit.captions) {
      form.keep(); // until the server has it
      form.settle();
    }
    const name = Object.keys(VERDICTS).find((key) => VERDICTS[key] === review);
    const sent = this.#send([edit], name ?? (review === "" ? "clear" : "save"));
    sent.then(
      () => {
        form.forget(clip.id);
        if (!isQuiet && !name) this.toast("Saved");
      },
      (error) => this.#refused(edit, error),
    );
    this.#drawSaving();
    return sent;
  }

  /** Accepts, rejects or marks the clip and goes on; again, takes that back. */
  judge(name) {
    const review = shown(this.current).review === VERDICTS[name] ? "" : VERDICTS[name];
    if (review === "accepted" && !this.form.captions.length) {
      this.toast("There is no caption to accept. Write one, or reject the clip.");
      return;
    }
    this.save({ review });
    if (review) this.move(1);
  }

  saveTags() {
    const clip = this.current;
    const tags = [...new Set($("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean))];
    if (JSON.stringify(tags) === JSON.stringify(shown(clip).tags)) return;
    const edit = { clip, revision: clip.revision, tags };
    this.#send([edit], "tag").catch((error) => this.#refused(edit, error));
  }

  async undo(redo = false) {
    this.save({ isQuiet: true });
    try {
      const { undone, clips } = await this.clips.undo(redo);
      const left = undone.left ? `; ${undone.left} changed since and stay` : "";
      const many = clips.length === 1 ? visible(clips[0].id) : `${clips.length.toLocaleString("en")} clips`;
      this.toast(`${redo ? "Done again" : "Undone"}: ${undone.action} of ${many}${left}`);
      const first = this.clips.byId.get(clips[0].id);
      if (clips.length === 1 && first !== this.current) this.open(first);
    } catch (error) {
      this.toast(error.message);
    }
  }

  #send(edits, action) {
    const sent = this.clips.edit(edits, action);
    sent.then(() => this.#count(), () => this.#count());
    return sent;
  }

  /** The server did not take an edit: both texts are shown, and a person chooses. */
  async #refused(edit, error) {
    const { clip } = edit;
    if (!(error instanceof ApiError) || error.code !== "CONFLICT") {
      if (edit.captions) this.form.keepFor(clip.id, clip.revision, edit.captions);
      tell($("trouble"), `${visible(clip.id)} was not saved: ${error.message}`);
      if (this.current === clip) this.#draw();
      return;
    }
    if (!edit.captions) { // a verdict or tags: nothing was typed that could be lost
      this.form.forget(clip.id);
      this.toast(`${visible(clip.id)} changed meanwhile; look at it again.`);
      if (this.current !== clip) this.open(clip);
      return;
    }
    const detail = await this.clips.detail(clip).catch(() => null);
    const texts = { name: clip.id, who: detail?.edit?.by ?? "", theirs: clip.captions[0] ?? "", mine: edit.captions[0] };
    const mine = await chooseText(texts);
    this.form.forget(clip.id);
    if (mine) {
      const again = { ...edit, revision: clip.revision, captions: [mine, ...edit.captions.slice(1)] };
      this.#send([again], "save").catch((problem) => this.#refused(again, problem));
    }
    if (this.current === clip) this.open(clip);
  }

  replace() {
    this.save({ isQuiet: true });
    this.replaceDialog.open();
  }

  ask() {
    this.answerDialog.open(this.current);
  }

  help() {
    openDialog($("help"));
  }

  toggleList(isOpen = !document.body.classList.contains("list-open")) {
    document.body.classList.toggle("list-open", isOpen);
    $("open-list").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.list.select(this.current);
  }

  toast(text) {
    tell($("toast"), text);
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => tell($("toast"), ""), TOAST_MS);
  }

  #person() {
    let kept = "";
    try {
      kept = localStorage.getItem(PERSON) ?? "";
    } catch {
      // storage is off: the name holds for this visit
    }
    this.clips.person = kept;
    $("person").value = kept || this.clips.about.person;
    $("person").addEventListener("change", () => {
      const name = $("person").value.trim();
      this.clips.person = name === this.clips.about.person ? "" : name;
      try {
        localStorage.setItem(PERSON, this.clips.person);
      } catch {
        // as above
      }
    });
  }

  // ---- what happens elsewhere

  #filter() {
    this.list.show(this.clips.choose($("kind").value, $("words").value));
    const { length } = this.list.clips;
    const isAll = length === this.clips.all.length;
    tell($("shown"), isAll ? "" : `${length.toLocaleString("en")} of ${this.clips.all.length.toLocaleString("en")} shown`);
    if (this.current) {
      this.list.select(this.current);
      const at = this.list.clips.indexOf(this.current);
      $("place").textContent = at < 0 ? "not among the clips shown" : `${(at + 1).toLocaleString("en")} of ${length.toLocaleString("en")}`;
    }
  }

  #changed(ids) {
    this.#count();
    this.list.refresh();
    if (!this.current || !ids.includes(this.current.id)) return;
    if (this.form.isChanged) this.#drawState();
    else if (!this.current.pending && this.form.revision !== this.current.revision) {
      this.form.show(this.current, this.current.captions);
      $("tags").value = this.current.tags.join(", ");
    }
    this.#drawState();
  }

  #renumbered() {
    const { current } = this;
    this.#count();
    this.#filter();
    const again = current && this.clips.byId.get(current.id);
    if (again) {
      this.form.keep();
      this.open(again);
    }
    this.toast("The server was started again; the list is new.");
  }

  #state({ error, waiting }) {
    if (error) {
      const kept = waiting ? ` ${waiting} ${waiting === 1 ? "change waits" : "changes wait"} and will be sent again.` : "";
      tell($("trouble"), `${error.message}${kept}`);
    } else if (!$("trouble").hidden) {
      tell($("trouble"), "");
    }
    if (this.current) this.#drawSaving();
  }

  #count() {
    const counts = Object.fromEntries(this.clips.counts().map(([name, , count]) => [name, count]));
    for (const option of $("kind").options) {
      const [, label] = KINDS.find(([name]) => name === option.value);
      option.textContent = `${label} (${counts[option.value].toLocaleString("en")})`;
    }
    const seen = counts.all - counts.unseen;
    const text = `${seen.toLocaleString("en")} of ${counts.all.toLocaleString("en")} seen`;
    if ($("progress").textContent !== text) $("progress").textContent = text;
    const tags = [...new Set(this.clips.all.flatMap((clip) => clip.tags))].sort().slice(0, 200);
    $("known-tags").replaceChildren(...tags.map((tag) => make("option", { value: tag })));
  }
}

const editor = new Editor();
editor.start();
