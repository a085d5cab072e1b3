// Files that are dropped or pasted, and keys that work everywhere but where something is written.

import { $ } from "./dom.js";

/** Hands dropped and pasted files to `add`. */
export function takeFiles(add) {
  let depth = 0; // enter and leave come for every element passed
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const veil = (isShown) => {
    $("veil").hidden = !isShown;
  };
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth += 1;
    veil(true);
  });
  addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth = Math.max(0, depth - 1);
    if (!depth) veil(false);
  });
  addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil(false);
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  });
}

/** Enter asks; i, o, m, space and the arrows work the player; Escape stops an answer. */
export function takeKeys(player, asking) {
  $("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("ask-form").requestSubmit();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      asking.stop();
      return;
    }
    const at = event.target;
    const isScrub = at === $("scrub");
    if (at.closest("textarea, select") || (at.closest("input") && !isScrub) || $("player").hidden) return;
    const isFree = !isScrub && !at.closest("button, a, summary, [tabindex]");
    const step = event.shiftKey ? 0.1 : 1;
    const does = {
      i: () => player.markIn(),
      o: () => player.markOut(),
      m: () => player.mute(),
      " ": isFree || isScrub ? () => player.toggle() : null,
      ArrowLeft: isFree || isScrub ? () => player.seek(player.time - step) : null,
      ArrowRight: isFree || isScrub ? () => player.seek(player.time + step) : null,
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
}
