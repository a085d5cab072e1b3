// The model asked again about one clip, and its answers to choose from.

import { $, make, openDialog, tell } from "./dom.js";
import { visible } from "./text.js";

export class AnswerDialog {
  #clips;
  #form;
  #clip = null;
  #asked = null; // AbortController
  #seed = 1;

  /** @param {import("./form.js").CaptionForm} form */
  constructor(clips, form) {
    this.#clips = clips;
    this.#form = form;
    $("answers-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    $("answers").addEventListener("close", () => this.#asked?.abort());
    $("answers").addEventListener("keydown", (event) => {
      const isField = event.target.matches("input, textarea, select");
      const button = /^[1-9]$/.test(event.key) && !isField ? $("answer-list").querySelectorAll(".use")[Number(event.key) - 1] : null;
      if (!button) return;
      event.preventDefault(); // the same key chooses among captions outside of this dialog
      button.click();
    });
  }

  open(clip) {
    const { model, styles, prompt, most_answers: most } = this.#clips.about;
    if (!$("style").options.length) {
      $("style").replaceChildren(...styles.map((name) => make("option", { value: name }, name)));
      $("prompt").value = prompt ?? "";
      $("num").max = String(most);
    }
    if (clip !== this.#clip) $("answer-list").replaceChildren();
    this.#clip = clip;
    tell($("answers-model"), `${model} is asked about ${visible(clip.id)}`);
    tell($("answers-error"), "");
    tell($("answers-state"), "");
    openDialog($("answers"));
    $("ask").focus();
  }

  async #ask() {
    this.#asked?.abort();
    const asked = new AbortController();
    this.#asked = asked;
    $("ask").disabled = true;
    tell($("answers-error"), "");
    const begun = performance.now();
    const timer = setInterval(() => tell($("answers-state"), `Asking, for ${Math.round((performance.now() - begun) / 1000)} s. The first answer waits for the model to load.`), 1000);
    tell($("answers-state"), "Asking.");
    try {
      const num = Number($("num").value);
      const wanted = { style: $("style").value, prompt: $("prompt").value.trim() || null, temperature: Number($("temperature").value), num, seed: this.#seed };
      const answers = await this.#clips.ask(this.#clip, wanted, asked.signal);
      this.#seed += num;
      this.#show(answers);
    } catch (error) {
      if (error.name !== "AbortError") tell($("answers-error"), error.message);
    } finally {
      clearInterval(timer);
      tell($("answers-state"), "");
      $("ask").disabled = false;
    }
  }

  #show(answers) {
    const different = [...new Map(answers.map((answer) => [answer.caption ?? answer.error?.message, answer])).values()];
    const rows = different.map(({ caption, warnings, error }, at) => {
      if (error) return make("li", {}, make("p", { className: "error" }, `${error.code}: ${error.message}`));
      return make(
        "li",
        {},
        make("p", { dir: "auto" }, visible(caption)),
        ...warnings.map((warning) => make("p", { className: "quiet" }, `${warning.code}: ${visible(warning.message)}`)),
        make("p", { className: "row" },
          make("button", { type: "button", className: "use", onclick: () => this.#take(() => this.#form.use(caption)) }, "Use ", make("kbd", {}, String(at + 1))),
          make("button", { type: "button", onclick: () => this.#take(() => this.#form.add(caption), false) }, "Add beside")),
      );
    });
    $("answer-list").replaceChildren(...rows);
    $("answer-list").querySelector(".use")?.focus();
  }

  #take(change, isLast = true) {
    change();
    if (isLast) $("answers").close();
  }
}
