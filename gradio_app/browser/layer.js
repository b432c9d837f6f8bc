// Draws over a photograph of any size, on several small canvases: iOS has none larger than 16.7 megapixels.

const CANVAS_PX = 4096;

// `root`: the element that holds the canvases.
function createLayer(root) {
  let tiles = [];
  return {
    begin: ([width, height]) => {
      for (const { canvas } of tiles) canvas.width = 0;  // the only way to make iOS free its memory at once
      tiles = [];
      for (let top = 0; top < height; top += CANVAS_PX)
        for (let left = 0; left < width; left += CANVAS_PX) {
          const canvas = document.createElement("canvas");
          Object.assign(canvas, { width: Math.min(CANVAS_PX, width - left), height: Math.min(CANVAS_PX, height - top) });
          Object.assign(canvas.style, { left: left + "px", top: top + "px" });
          tiles.push({ canvas, left, top });
        }
      root.replaceChildren(...tiles.map(({ canvas }) => canvas));
      Object.assign(root.style, { width: width + "px", height: height + "px" });
    },
    // `part`: an ImageData.
    put: (part, left, top) => { for (const tile of tiles) tile.canvas.getContext("2d").putImageData(part, left - tile.left, top - tile.top); },
    // Draws everything at another scale.
    drawOn: (context, scale) => {
      for (const { canvas, left, top } of tiles) context.drawImage(canvas, left * scale, top * scale, canvas.width * scale, canvas.height * scale);
    },
  };
}
