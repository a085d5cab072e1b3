// The choice between two texts of one caption: the one that is there now, and the one that was typed.

import { $, openDialog, tell } from "./dom.js";
import { visible } from "./text.js";

/**
 * Asks which text to keep.
 * @param {{name: string, who: string, theirs: string, mine: string}} texts
 * @returns {Promise<string|null>} the typed one, perhaps changed again; null to keep what is there
 */
export async function chooseText({ name, who, theirs, mine }) {
  tell($("conflict-who"), `${visible(name)}, changed${who ? ` by ${who}` : ""} since you began`);
  $("theirs").textContent = visible(theirs);
  $("mine").value = mine;
  openDialog($("conflict"));
  $("mine").focus();
  const isMine = await new Promise((done) => {
    let chosen = false;
    $("take-mine").onclick = () => {
      chosen = true;
      $("conflict").close();
    };
    $("take-theirs").onclick = () => $("conflict").close();
    $("conflict").addEventListener("close", () => done(chosen), { once: true });
  });
  return isMine ? $("mine").value.trim() || null : null;
}
