// Answers photographs with photograph.onnx in Node; benchmarks/photograph_runtimes.py calls it.
//
//     node photograph_runtimes.mjs PACKAGE MODEL PHOTOGRAPHS ANSWERS
//
// PACKAGE: onnxruntime-node or onnxruntime-web, by its folder. PHOTOGRAPHS holds, of each, height
// and width (int32) and its RGB bytes; ANSWERS gets label and verdict (int32) and the pixels seen.
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, model, photographs, answers] = process.argv.slice(2);
const found = createRequire(import.meta.url)(folder);
const ort = found.default ?? found;
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { intraOpNumThreads: 1 });
const bytes = readFileSync(photographs);
const out = openSync(answers, "w");
const started = performance.now();
let count = 0;
for (let at = 0; at < bytes.length; count++) {
  const [height, width] = [bytes.readInt32LE(at), bytes.readInt32LE(at + 4)];
  const rgb = new Uint8Array(bytes.subarray(at + 8, at + 8 + height * width * 3));
  at += 8 + rgb.length;
  const { probs, verdict, pixels } = await session.run({
    photograph: new ort.Tensor("uint8", rgb, [height, width, 3]),
    side: new ort.Tensor("int32", Int32Array.of(0), [1]),
  });
  const label = probs.data.indexOf(Math.max(...probs.data));
  writeSync(out, Buffer.from(Int32Array.of(label, verdict.data[0]).buffer));
  writeSync(out, pixels.data);
}
closeSync(out);
console.log(JSON.stringify({ milliseconds: (performance.now() - started) / count }));
