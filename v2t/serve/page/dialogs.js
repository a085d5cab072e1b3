// The dialogs: sessions kept here, settings, the server's key.

import { $, make, openDialog, tell } from "./dom.js";

const SETTINGS = "cineloop.settings";
const DEFAULTS = { model: "", maxTokens: 320, temperature: 0, remember: true };

/** Asks for the key. @returns {Promise<string|null>} null when the reader does not give one */
export function askKey(wasWrong) {
  const dialog = $("key-dialog");
  const field = $("key");
  $("key-wrong").hidden = !wasWrong;
  field.value = "";
  return new Promise((done) => {
    let given = null;
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      given = field.value.trim().replace(/[^\x21-\x7e]/g, "") || null;
      dialog.close();
    };
    $("key-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      field.value = "";
      done(given);
    }, { once: true });
    openDialog(dialog);
    field.focus();
  });
}

/** What questions are asked with; kept from visit to visit. */
export class Settings {
  #values;
  #models = [];

  constructor() {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") ?? {};
    } catch {
      // nothing was kept, or nothing that can be read
    }
    this.#values = { ...DEFAULTS, ...kept };
    for (const menu of [$("model"), $("model-menu")]) menu.addEventListener("change", () => this.#set({ model: menu.value }));
    $("max-tokens").addEventListener("change", () => this.#set({ maxTokens: this.#bounded($("max-tokens"), DEFAULTS.maxTokens, Math.round) }));
    $("temperature").addEventListener("change", () => this.#set({ temperature: this.#bounded($("temperature"), 0, Number) }));
    $("remember").addEventListener("change", () => this.#set({ remember: $("remember").checked }));
    this.#draw();
  }

  #bounded(field, otherwise, read) {
    const value = field.value === "" ? NaN : read(Number(field.value));
    return Number.isFinite(value) ? Math.min(Number(field.max), Math.max(Number(field.min), value)) : otherwise;
  }

  #set(values) {
    Object.assign(this.#values, values);
    try {
      localStorage.setItem(SETTINGS, JSON.stringify(this.#values));
    } catch {
      // storage is off: they hold for this visit
    }
    this.#draw();
  }

  /** The models of the server: the first is the one unless another was chosen. */
  offer(models) {
    this.#models = models;
    if (!models.some((model) => model.id === this.#values.model)) this.#values.model = models[0]?.id ?? "";
    this.#draw();
  }

  get limits() {
    return this.#chosen?.cineloop?.limits ?? null;
  }

  get about() {
    return this.#chosen?.cineloop?.about ?? "";
  }

  get #chosen() {
    return this.#models.find((model) => model.id === this.#values.model);
  }

  /** A copy for one question. */
  get values() {
    const most = this.limits?.max_tokens ?? 2048;
    return { ...this.#values, maxTokens: Math.min(this.#values.maxTokens, most), mostVideos: this.limits?.videos ?? 8 };
  }

  #draw() {
    const { model, temperature, remember } = this.#values;
    for (const menu of [$("model"), $("model-menu")]) {
      menu.replaceChildren(...this.#models.map((one) => make("option", { value: one.id, selected: one.id === model }, one.id)));
    }
    $("model-box").hidden = this.#models.length < 2;
    $("model").disabled = !this.#models.length;
    tell($("model-about"), this.about);
    $("max-tokens").max = String(this.limits?.max_tokens ?? 2048);
    $("max-tokens").value = String(this.values.maxTokens);
    $("temperature").value = String(temperature);
    $("remember").checked = remember;
  }
}

/**
 * The sessions kept in this browser.
 * @param {{sessions: object[], current: string, isKept: boolean, open: (s: object) => void, remove: (s: object) => void}} options
 */
export function listSessions({ sessions, current, isKept, open, remove }) {
  $("kept").textContent = isKept
    ? "Kept in this browser alone, with videos up to 200 MB."
    : "This browser keeps nothing for this page; sessions end with it.";
  const rows = sessions.map((session) => {
    const when = new Date(session.updated).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    const count = `${session.turns.length} ${session.turns.length === 1 ? "question" : "questions"}`;
    const opens = make(
      "button",
      { type: "button", className: "open", "aria-current": session.id === current ? "true" : null, onclick: () => open(session) },
      make("b", {}, session.title),
      make("span", { className: "quiet" }, `${when} · ${count}`),
    );
    const removes = make("button", { type: "button", "aria-label": `Delete ${session.title}`, onclick: () => remove(session) }, "Delete");
    return make("li", {}, opens, removes);
  });
  $("session-list").replaceChildren(...(rows.length ? rows : [make("li", { className: "quiet" }, "None yet.")]));
  openDialog($("sessions"));
}
