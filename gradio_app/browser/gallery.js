// Thumbnails of all photographs of a batch, those most likely cracked first; each shows its state.

const MARKS = { unseen: "● unseen", seen: "seen", confirmed: "✓ confirmed", corrected: "✎ corrected", reported: "! reported", rejected: "✕ rejected" };
const STATES = { waiting: "waiting", running: "looking for cracks …", failed: "failed" };

function createGallery(list, onOpen) {
  const buttons = new Map();
  let order = [], drawing = 0;
  const rank = (entry) => (entry.state === "done" ? entry.result.crack_score ?? entry.result.crack_ratio : -1);
  const button = (entry) => {
    if (!buttons.has(entry.id)) {
      const made = document.createElement("button");
      made.type = "button";
      made.innerHTML = `<img alt="" loading="lazy" hidden><span class="name"></span><span class="mark"></span>`;
      made.addEventListener("click", () => onOpen(entry));
      made.querySelector("img").addEventListener("error", (event) => (event.target.hidden = true));
      buttons.set(entry.id, made);
    }
    return buttons.get(entry.id);
  };
  const fill = (entry, isShown) => {
    const made = button(entry), image = made.querySelector("img"), source = entry.thumb || (entry.result && entry.result.thumb_url);
    if (source && image.getAttribute("src") !== source) Object.assign(image, { src: source, hidden: false });
    const isDone = entry.state === "done", isDraft = (entry.draft || entry.hasMask) && !entry.isSent && entry.mark !== "rejected";
    const mark = isDraft ? "✎ draft, not sent" : MARKS[entry.mark];
    const score = isDone && entry.result.crack_score != null ? `score ${entry.result.crack_score.toFixed(2)}, ` : "";
    made.querySelector(".name").textContent = entry.name;
    made.querySelector(".mark").textContent = isDone ? score + mark : [STATES[entry.state], entry.text].filter(Boolean).join(": ");
    made.classList.toggle("failed", entry.state === "failed");
    made.title = entry.text || entry.name;
    made.setAttribute("aria-current", String(isShown));
    return made;
  };
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const next = step && [...list.children][[...list.children].indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  });
  return {
    draw: (entries, shown) => {
      cancelAnimationFrame(drawing);
      drawing = requestAnimationFrame(() => {
        order = [...entries].sort((one, other) => rank(other) - rank(one) || one.number - other.number);
        const nodes = order.map((entry) => fill(entry, entry === shown));
        if (nodes.some((node, at) => list.children[at] !== node) || list.children.length !== nodes.length) {
          const focused = list.contains(document.activeElement) && document.activeElement;
          list.replaceChildren(...nodes);
          if (focused) focused.focus();
        }
        for (const id of buttons.keys()) if (!entries.some((entry) => entry.id === id)) buttons.delete(id);
      });
    },
    beside: (shown, step) => order[Math.max(0, Math.min(order.length - 1, order.indexOf(shown) + step))],
    show: (entry) => buttons.get(entry.id)?.scrollIntoView({ block: "nearest", inline: "nearest" }),
  };
}
