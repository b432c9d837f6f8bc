// Shows the photograph a second time, with its earlier mask, beside the viewer. Both move together.

const BEFORE = `
  <div class="before" role="img" hidden>
    <div class="sheet"><img alt=""><div class="overlay"></div></div>
    <p class="caption"></p>
  </div>`;

// `viewer`: shows the same photograph, on the right.
function createBefore(viewer) {
  const after = viewer.find("stage");
  after.insertAdjacentHTML("afterend", BEFORE);
  const pane = after.nextElementSibling, sheet = pane.querySelector(".sheet"), mask = createMask(createLayer(pane.querySelector(".overlay")));
  const hide = () => { pane.hidden = true; pane.parentElement.classList.remove("both"); };
  return {
    place: ({ x, y, scale }) => { sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; },
    // `url`: a picture of the earlier mask, crack where its red is at least `level`.
    show: async ({ image_url }, url, level, caption) => {
      const of = viewer.shown(), levels = await redOf(url);
      if (viewer.shown() !== of) return;
      const [width, height] = viewer.size();
      Object.assign(pane.querySelector("img"), { src: image_url, width, height });
      mask.begin([width, height]);
      mask.cut(levels, level);
      pane.querySelector(".caption").textContent = caption;
      pane.setAttribute("aria-label", caption);
      pane.hidden = false;
      pane.parentElement.classList.add("both");
    },
    hide,
    isShown: () => !pane.hidden,
  };
}
