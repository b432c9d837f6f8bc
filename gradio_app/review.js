// The Review tab: what waits, one after the other; accept, reject, or correct with the brush. Keys: A, R, S, J and K.

const root = element.querySelector(".crack");
const list = element.querySelector(".waiting");
const viewer = createViewer(root, "review");
const decide = viewer.find("decide");
let items = [], at = 0, seen = null;  // seen: what is shown, and so what a decision is about
decide.hidden = true;
decide.innerHTML = `
  <button type="button" class="accept primary" title="The mask is right (A)">Accept</button>
  <button type="button" class="save" title="Accept what I painted (S)">Accept my painting</button>
  <button type="button" class="reject" title="Not fit for training (R)">Reject</button>
  <span class="said grow"></span>`;

const words = { needs_label: "needs a mask", labelled: "has a mask", accepted: "has a newer mask" };
const open = async (index) => {
  seen = null;
  if (!items.length) { decide.hidden = true; return viewer.show(null); }
  at = Math.min(Math.max(index, 0), items.length - 1);
  const item = items[at];
  list.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-current", String(i === at)));
  const answer = await server.open_item(item.id);
  if (item !== items[at]) return;  // another was opened meanwhile
  if (!answer.ok) return viewer.say(answer.text, true);
  await viewer.show(answer);
  if (viewer.shown() !== answer) return;
  seen = answer;
  decide.querySelector(".said").textContent = answer.said;
  decide.querySelector(".accept").disabled = items[at].state === "needs_label";
};
const reload = async (index = 0) => {
  const answer = await server.list_waiting();
  if (!answer.ok) { items = []; list.textContent = ""; return viewer.show({ error: answer.text }); }
  items = answer.items;
  list.replaceChildren(...items.map((item, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${item.verdict ? item.verdict.replace("_", " ") : "correction"} — ${words[item.state]}`;
    button.title = item.created_at;
    button.addEventListener("click", () => open(i));
    return button;
  }));
  element.querySelector(".count").textContent =
    items.length ? `${answer.total} waiting, complaints first` : "Nothing waits. Well done.";
  await open(index);
};
const review = async (decision) => {
  if (!seen) return;
  const { id, etag } = seen;
  try {
    const mask = decision === "save" ? (await upload(await viewer.maskFile())).path : null;
    const answer = await server.review_item({ id, etag, decision: decision === "save" ? "accept" : decision, mask });
    if (answer.ok) await reload(at);
    viewer.say(answer.text, !answer.ok);
  } catch (error) {
    viewer.say(`Not sent: ${error.message || error}`, true);
  }
};
for (const [name, decision] of [["accept", "accept"], ["save", "save"], ["reject", "reject"]])
  decide.querySelector("." + name).addEventListener("click", () => review(decision));
Object.assign(viewer.keys, {
  a: () => items.length && items[at].state !== "needs_label" && review("accept"),
  s: () => review("save"), r: () => review("reject"), j: () => open(at + 1), k: () => open(at - 1),
});
element.querySelector(".reload").addEventListener("click", () => reload());
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && !items.length && reload()).observe(root);
