// The Inspect tab: what Python predicted is shown; a correction, or a word about it, goes back.

const viewer = createViewer(element.querySelector(".crack"), "inspect");
const decide = viewer.find("decide");
decide.innerHTML = `
  <label>What was wrong? <select class="verdict">
    <option value="">see my painting</option><option value="missed_crack">a crack was missed</option>
    <option value="false_alarm">that is no crack</option><option value="too_thick">too thick</option>
    <option value="too_thin">too thin</option><option value="other">something else</option>
    <option value="correct">nothing, it is correct</option></select></label>
  <label class="grow">Note <input type="text" class="note" maxlength="500" placeholder="optional"></label>
  <button type="button" class="send primary">Send correction</button>`;
decide.querySelector(".send").addEventListener("click", async (event) => {
  const shown = viewer.shown();
  if (!shown) return;
  event.target.disabled = true;
  viewer.say("Sending …");
  try {
    const mask = viewer.isTouched() ? (await upload(await viewer.maskFile())).path : null;
    const answer = await server.save_correction({
      image: shown.image_path, mask, is_empty: viewer.isEmpty(), verdict: decide.querySelector(".verdict").value,
      note: decide.querySelector(".note").value, request_id: shown.request_id, model_version: shown.model_version,
    });
    viewer.say(answer.text, !answer.ok);
  } catch (error) {
    viewer.say(`Not sent: ${error.message || error}`, true);
  }
  event.target.disabled = false;
});
viewer.show(props.value);
watch("value", () => viewer.show(props.value));
