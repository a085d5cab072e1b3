// Small words for making elements. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, listeners (`onclick`), attributes (`aria-…`, `data-…`) and children (nodes or text). */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Shows text in a place, or hides the place when there is none. */
export function tell(node, text) {
  node.textContent = text ?? "";
  node.hidden = !text;
}

/** Says something to those who hear the page; seen it is elsewhere. */
export function announce(text) {
  $("said").textContent = text;
}

/** Hands the reader a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Opens a dialog whose `.close` buttons close it. */
export function openDialog(dialog) {
  for (const button of dialog.querySelectorAll(".close")) button.onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
}
