// Names the pressed key on any keyboard: by its letter on Latin layouts, by its position on others.

const PLACES = { Minus: "-", NumpadSubtract: "-", Equal: "+", NumpadAdd: "+", BracketLeft: "[", BracketRight: "]" };

function keyOf(event) {
  const key = event.key.toLowerCase();
  if (key === "=") return "+";
  if (/^[a-z0-9+[\]-]$/.test(key)) return key;
  const letter = /^(?:Key([A-Z])|(?:Digit|Numpad)([0-9]))$/.exec(event.code);
  return letter ? (letter[1] || letter[2]).toLowerCase() : PLACES[event.code] || key;
}

const HELD = /^(j|k|n|\+|-|\[|\]|arrow.*|mod-.*)$/;  // repeated while the key is held down; a long press must not decide twice

// `keys`: what each key does while `root` is on the screen, without a dialog over it, and nobody is typing; "mod-z" is Ctrl or Cmd with Z. If it returns
// false, the browser handles the key as usual.
function listenToKeys(root, keys) {
  document.addEventListener("keydown", (event) => {
    if (!root.offsetParent || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const into = event.target;
    if (/^(TEXTAREA|SELECT)$/.test(into.tagName) || into.isContentEditable || /^(text|number|search)$/.test(into.type)) return;
    const isWith = event.ctrlKey || event.metaKey;
    const name = (isWith ? "mod-" : "") + (isWith && event.shiftKey ? "shift-" : "") + keyOf(event);
    if (event.repeat && !HELD.test(name)) return;
    if (keys[name] && keys[name]() !== false) event.preventDefault();
  });
}
