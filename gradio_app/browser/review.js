// The Review tab: labels waiting for review, one after the other, and those already decided. Keys: A, R, S, V, J and K.

element.innerHTML = `
  <div class="side">
    <div>
      <div class="bar">
        <select class="which" aria-label="Which photographs"><option value="waiting">Waiting</option><option value="decided">Decided</option></select>
        <button type="button" class="reload">Refresh</button>
      </div>
      <strong class="count" role="status">…</strong>
      <nav class="gallery" aria-label="Photographs to review"></nav>
    </div>
    <div class="crack"></div>
  </div>`;
const root = element.querySelector(".crack"), list = element.querySelector(".gallery"), which = element.querySelector(".which");
const keeper = openKeeper("review");
const predicted = new Map();  // the model's predictions, by the item's id
let before = null, items = [], at = 0, seen = null;  // seen: the item on the screen, which a decision is about
const viewer = createViewer(root, {
  hint: "Here you accept or reject what people send from the Inspect tab.", isPaintingFirst: true, onPlace: (now) => before && before.place(now),
  onChange: () => {
    const draft = viewer.draft();
    draft ? keeper.put({ id: seen.id, etag: seen.etag, draft }) : keeper.remove(seen.id);
  },
});
before = createBefore(viewer);
const decide = viewer.find("decide");
decide.innerHTML = `
  <button type="button" class="accept primary" title="The mask is right (A)">Accept</button>
  <button type="button" class="save" title="Accept what I painted (S)">Accept my painting</button>
  <button type="button" class="reject" title="Do not use it for training (R)">Reject</button>
  <button type="button" class="beside" aria-pressed="false" title="Show the earlier mask beside this one (V)">Before and after</button>
  <span class="said grow"></span>`;

const VERDICTS = {
  missed_crack: "a crack was missed", false_alarm: "that is not a crack", no_crack: "no crack here", too_thick: "too thick",
  too_thin: "too thin", other: "something else", correct: "correct",
};
const STATES = { needs_label: "needs a mask", labelled: "has a mask", accepted: "accepted", rejected: "rejected" };
const stateOf = (item) => (item.own_mask_check ? "has an unchecked mask" : item.proposed_mask_file ? "has a newer mask" : STATES[item.state]);
const nameOf = (item) => item.name || item.id.slice(0, 8);
const when = (at) => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const small = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(async ({ target }) => {
  small.unobserve(target);
  const answer = await call("shrink_item", target.dataset.id);
  if (answer.ok) Object.assign(target, { src: answer.url, hidden: false });
}));
const button = (item, index) => {
  const made = document.createElement("button");
  made.type = "button";
  made.innerHTML = `<img alt="" width="1" height="1"><span class="name"></span><span class="mark"></span><span class="mark from"></span>`;
  const image = made.querySelector("img");
  image.dataset.id = item.id;
  small.observe(image);
  made.querySelector(".name").textContent = nameOf(item);
  made.querySelector(".mark").textContent = `${VERDICTS[item.verdict] || "correction"}: ${stateOf(item)}`;
  made.querySelector(".from").textContent = `${item.sent_by}, ${when(item.created_at)}`;
  made.addEventListener("click", () => open(index));
  return made;
};
const modelOf = async (item) => {
  if (!predicted.has(item.id)) predicted.set(item.id, call("predict_item", item.id));
  const answer = await predicted.get(item.id);
  if (!answer.ok) predicted.delete(item.id);  // so it is asked for again
  return answer;
};
const compare = async () => {
  const shown = seen, isOn = !before.isShown();
  decide.querySelector(".beside").setAttribute("aria-pressed", String(isOn));
  if (!shown || !isOn) return before.hide();
  if (shown.accepted_url) return before.show(shown, shown.accepted_url, 128, "Before: the accepted mask, used for training");
  viewer.say("Looking for cracks …");
  const model = await modelOf(shown.item);
  if (seen !== shown) return;
  if (!model.ok) return viewer.say(model.text, true);
  await before.show(shown, model.levels_url, model.level, `Before: the mask of model ${model.model_version}`);
  viewer.tell();
};
const open = async (index) => {
  seen = null;
  before.hide();
  decide.querySelector(".beside").setAttribute("aria-pressed", "false");
  if (!items.length) return viewer.clear("");
  at = Math.min(Math.max(index, 0), items.length - 1);
  const item = items[at];
  [...list.children].forEach((each, i) => each.setAttribute("aria-current", String(i === at)));
  list.children[at].scrollIntoView({ block: "nearest" });
  const answer = await call("open_item", item.id);
  if (item !== items[at]) return;  // another item was opened meanwhile
  if (!answer.ok) return viewer.clear(answer.text, true);
  const kept = await keeper.get(item.id);
  const draft = kept && kept.etag === answer.etag ? kept.draft : null;
  const isShown = await viewer.show({ ...answer, name: nameOf(item) }, 128, draft, answer.item.look_alikes);
  if (!isShown || item !== items[at]) return;
  seen = answer;
  const { verdict, note, sent_by, created_at, state, reason, updated_at, own_mask_check } = answer.item;
  decide.querySelector(".said").textContent = [
    VERDICTS[verdict], note, `sent by ${sent_by}, ${when(created_at)}`,
    own_mask_check || /accepted|rejected/.test(state) ? `${reason}, ${when(updated_at)}` : reason !== "waits for a reviewer" && reason,
  ].filter(Boolean).join(" · ");
  decide.querySelector(".accept").disabled = !answer.levels_url || Boolean(own_mask_check);
  if (answer.levels_url || draft) return;
  viewer.say("Looking for cracks …");  // a correction begins with its mask
  const model = await modelOf(item);
  if (seen !== answer) return;
  if (!model.ok) return viewer.say(`${nameOf(item)}: the model gave no mask to begin with. ${model.text}`, true);
  await viewer.suggest(model.levels_url, model.level);
};
const reload = async (index = 0) => {
  const answer = await call("list_items", which.value);
  if (!answer.ok) {
    items = [];
    list.replaceChildren();
    element.querySelector(".count").textContent = "";
    return viewer.clear(answer.text, true);
  }
  items = answer.items;
  list.replaceChildren(...items.map(button));
  const n = answer.total;
  element.querySelector(".count").textContent = which.value === "decided"
    ? (n ? `${n} decided, newest first` : "Nothing has been decided yet.")
    : n ? `${n} waiting, complaints first` : "Nothing waits for review.";
  await open(index);
};
let isDeciding = false;
const review = async (decision) => {
  if (!seen || isDeciding) return;
  const { id, etag } = seen, isOwn = decision === "save";
  if (isOwn && !viewer.isTouched())
    return viewer.say("Nothing was painted, so there is nothing to accept. Paint the crack, or press “No crack here” if there is none.", true);
  isDeciding = true;
  try {
    const file = isOwn && new File([await viewer.maskBlob()], "mask.png", { type: "image/png" });
    const answer = await call("review_item", { id, etag, decision: isOwn ? "accept" : decision, mask: file ? (await upload(file)).path : null });
    if (answer.ok) { await keeper.remove(id); await reload(at); }
    viewer.say(answer.text, !answer.ok);
  } catch (error) {
    viewer.say(`Not sent: ${reasonOf(error)}`, true);
  }
  isDeciding = false;
};
for (const decision of ["accept", "save", "reject"]) decide.querySelector("." + decision).addEventListener("click", () => review(decision));
Object.assign(viewer.keys, {
  v: compare,
  a: () => !decide.querySelector(".accept").disabled && review("accept"),
  s: () => review("save"), r: () => review("reject"), j: () => open(at + 1), k: () => open(at - 1),
});
decide.querySelector(".beside").addEventListener("click", compare);
element.querySelector(".reload").addEventListener("click", () => reload());
which.addEventListener("change", () => reload());
addEventListener("beforeunload", (event) => { if (keeper.isBehind()) event.preventDefault(); });
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && !items.length && reload()).observe(root);
