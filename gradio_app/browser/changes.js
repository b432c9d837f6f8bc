// What has changed since an earlier inspection: choose that one, wait for the comparison or stop it, look at the result and download
// it. Left to others: comparing, on the page's server (comparing.py).

const CHANGES = `
  <header><h2>What has changed</h2><button type="button" class="shut" aria-label="Close the changes">✕</button></header>
  <div class="content">
    <p class="asks" tabindex="-1"></p>
    <p class="failure" role="alert"></p>
    <div class="choice"><ul></ul><p class="omitted"></p></div>
    <div class="under-way"><p class="doing" role="status" aria-live="polite"></p><progress aria-label="Comparison"></progress><button type="button" class="end">Stop</button></div>
    <div class="outcome"></div>
  </div>`;
const LEGEND = `"Before" is the earlier photograph, or several, laid over the later one. "Changes" is the later one with its cracks: <i class="new">■</i> red, thick: new; <i class="found">■</i> blue: there before;
  <i class="gone">■</i> yellow, thick: no longer found; <i class="unknown">■</i> white: not known, because no earlier photograph shows this place clearly. Each change is a hint: look at the pictures. "No longer found" may mean
  repaired, or only that the later photograph is less sharp.`;
const ASKED_EVERY_MS = 1000, AWAY_MS = 5000;

// `of`: what inspections.js provides: `open()` (the inspection), `flush()` (everything saved?); `about(inspection)`, `counted(inspection)`: in words.
function createChanges(dialog, button, of) {
  dialog.innerHTML = CHANGES;
  const find = (name) => dialog.querySelector("." + name);
  const kept = "comparison";  // of this tab: after a reload it goes on being watched
  let job = JSON.parse(sessionStorage.getItem(kept) || "null"), timer = 0, missed = "";  // { id, later, name, result }: the last comparison; why it failed while nobody looked

  const isOurs = () => Boolean(job && of.open() && job.later === of.open().id);
  const become = (next) => {
    clearTimeout(timer);
    job = next;
    if (job) sessionStorage.setItem(kept, JSON.stringify({ ...job, result: undefined })); else sessionStorage.removeItem(kept);
  };
  const show = (part, asks) => {
    for (const name of ["choice", "under-way", "outcome"]) find(name).hidden = name !== part;
    find("asks").textContent = asks;
    find("failure").textContent = "";
  };
  const draw = () => { button.textContent = !isOurs() ? "Compare" : job.result ? "Changes" : "Comparing …"; };
  const focus = (element) => dialog.open && element.focus();

  // --- choosing

  const choose = async (failure = "") => {
    const open = of.open();
    show("choice", `Compare ${open.name} with an earlier inspection of the same place:`);
    find("failure").textContent = failure;
    focus(find("asks"));
    const answer = await call("list_inspections");
    if (!answer.ok) return (find("failure").textContent = answer.text);
    const others = answer.items.filter(({ id }) => id !== open.id), isLater = ({ date }) => Boolean(date && open.date && date > open.date);
    const rank = (each) => [open.structure && each.structure === open.structure ? "1" : "0", each.date].join();
    const fit = others.filter((each) => each.n_photographs && !isLater(each)).sort((one, other) => (rank(one) < rank(other) ? 1 : -1));
    const nLater = others.filter(isLater).length;
    find("choice").querySelector("ul").replaceChildren(...fit.map((each) => {
      const item = document.createElement("li");
      item.innerHTML = `<div><strong></strong><span class="what"></span><span class="how"></span></div><button type="button" class="with">Compare</button>`;
      item.querySelector("strong").textContent = each.name;
      item.querySelector(".what").textContent = of.about(each);
      item.querySelector(".how").textContent = of.counted(each);
      item.querySelector("button").setAttribute("aria-label", `Compare with ${each.name}`);
      item.querySelector("button").addEventListener("click", () => start(each));
      return item;
    }));
    find("omitted").textContent = [
      fit.length ? "" : "There is no earlier inspection with photographs.",
      nLater ? `Not listed: ${nLater} of a later date. To compare with this one, open the later one.` : "",
    ].filter(Boolean).join(" ");
  };

  // --- comparing

  const start = async (earlier) => {
    const open = of.open();
    show("under-way", `Comparing ${open.name} with ${earlier.name}.`);
    tell({ doing: "starting" });
    focus(find("end"));
    if (job && !job.result) call("stop_comparison", job.id);
    become(null);
    if (!(await of.flush())) return choose("The last changes are not saved yet. Try again.");
    const answer = await call("start_comparison", { earlier: earlier.id, later: open.id });
    if (!answer.ok) return choose(answer.text);
    become({ id: answer.id, later: open.id, name: earlier.name });
    draw();
    follow();
  };
  const tell = ({ doing, n, of: total }) => {
    find("doing").textContent = `${doing[0].toUpperCase()}${doing.slice(1)}${total ? `: ${n} of ${total} photographs` : ""} …`;
    const bar = dialog.querySelector("progress");
    if (total) Object.assign(bar, { max: total, value: n }); else bar.removeAttribute("value");
  };
  const follow = async () => {
    const asked = job, answer = await call("follow_comparison", asked.id);
    if (job !== asked) return;  // stopped, or another one meanwhile
    if (answer.isAway) find("doing").textContent = answer.text;
    else if (!answer.ok) { become(null); draw(); return dialog.open ? choose(answer.text) : (missed = answer.text); }
    else if (answer.is_over) { job.result = answer.result; draw(); return isOurs() && shown(); }
    else tell(answer);
    timer = setTimeout(follow, answer.isAway ? AWAY_MS : ASKED_EVERY_MS);
  };
  const end = async () => {
    const { id } = job || {};
    become(null);
    draw();
    if (id) await call("stop_comparison", id);
    choose("Stopped.");
  };

  // --- the result

  const added = (parent, name, text = "", settings = {}) => {
    const element = Object.assign(document.createElement(name), settings);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  };
  const listed = (parent, title, lines) => {
    if (!lines.length) return;
    added(parent, "h3", title);
    const list = added(parent, "ul", "", { className: "plain" });
    for (const text of lines) added(list, "li", text);
  };
  const photograph = (parent, { file, earlier_file, note, is_changed, pictures, lines, n_same }, columns) => {
    const part = added(parent, "details", "", { open: is_changed });
    const n = lines.length, same = n_same ? `${n_same} unchanged` : "";
    added(added(part, "summary"), "h3", `${file}: ${[n ? `${n} ${n === 1 ? "crack" : "cracks"} to look at` : "no change", same].filter(Boolean).join(", ")}`);
    added(part, "p", `Before: ${earlier_file}. ${note}`);
    const row = added(part, "div", "", { className: "pictures" });
    for (const [panel, url] of Object.entries(pictures)) {
      const figure = added(row, "figure"), link = added(figure, "a", "", { href: url, target: "_blank" });
      added(link, "img", "", { src: url, alt: `${file}: ${panel}`, loading: "lazy" });
      added(figure, "figcaption", panel);
    }
    if (!n) return;
    const used = columns.map((_, at) => at).filter((at) => lines.some((line) => line[at]));
    const table = added(added(part, "div", "", { className: "wide", tabIndex: 0, role: "region", ariaLabel: `Changes of ${file}` }), "table");
    const head = added(added(table, "thead"), "tr"), body = added(table, "tbody");
    for (const at of used) added(head, "th", columns[at], { scope: "col" });
    for (const line of lines) {
      const cells = added(body, "tr");
      for (const at of used) added(cells, "td", line[at]);
    }
  };
  const shown = () => {
    const { result } = job, outcome = find("outcome"), { photographs, columns } = result;
    show("outcome", `${of.open().name}, compared with ${job.name}. Cracks: ${result.counts}.`);
    outcome.replaceChildren();
    const bar = added(outcome, "div", "", { className: "group" });
    for (const [form, text, title] of [["zip", "All (ZIP) ↓", "The pictures and tables of changes, and the report"], ["pdf", "Report (PDF) ↓", "The report with a section about the changes"], ["xlsx", "Excel ↓", "The table of changes"]])
      added(bar, "button", text, { type: "button", title, className: form }).addEventListener("click", () => Object.assign(document.createElement("a"), { href: result.files[form], download: "" }).click());
    added(bar, "button", "Compare with another", { type: "button", className: "other" }).addEventListener("click", () => { become(null); draw(); choose(); });
    if (result.made) added(outcome, "p", `The two inspections were made differently, ${result.made}. A crack may look longer or wider for that reason alone.`);
    if (result.scales) added(outcome, "p", result.scales);
    added(outcome, "p").innerHTML = photographs.some((each) => each.lines.length) ? LEGEND : "No change was found.";
    for (const each of [...photographs].sort((one, other) => Number(other.lines.length > 0) - Number(one.lines.length > 0))) photograph(outcome, each, columns);
    listed(outcome, "Not compared", result.without.map(([file, why]) => `${file}: ${why}`));
    listed(outcome, "Earlier photographs not compared", result.not_used);
    focus(find("asks"));
  };

  button.addEventListener("click", () => {
    if (!dialog.open) dialog.showModal();
    if (!isOurs()) { choose(missed); return (missed = ""); }
    if (job.result) return shown();
    show("under-way", `Comparing ${of.open().name} with ${job.name}.`);
  });
  find("shut").addEventListener("click", () => dialog.close());
  find("end").addEventListener("click", end);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  if (job) follow();
  return { draw };
}
