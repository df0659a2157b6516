// Bundles src/ into dist/: `npm ci && npm run build [-- --outdir=FOLDER]`. The output depends on
// the sources and package-lock.json only, so a test can compare it with what is committed.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const argument = process.argv.find((value) => value.startsWith("--outdir="));
const outdir = argument ? argument.slice("--outdir=".length) : join(here, "dist");

await mkdir(outdir, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["src/main.ts"],
  outfile: join(outdir, "main.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none", // LICENSES.txt carries them in full
});
for (const name of ["index.html", "style.css"]) {
  await writeFile(join(outdir, name), await readFile(join(here, "src", name)));
}
const three = await readFile(join(here, "node_modules/three/LICENSE"), "utf8");
await writeFile(
  join(outdir, "LICENSES.txt"),
  `main.js contains three.js (https://threejs.org), under this licence:\n\n${three}`,
);
await writeFile(join(outdir, "SOURCES.sha256"), await digests());

// One line per source file, so that a machine without node can see whether dist/ is up to date.
async function digests() {
  const files = ["build.mjs", "package-lock.json", "package.json"];
  for (const name of (await readdir(join(here, "src"))).sort()) files.push(`src/${name}`);
  const lines = files.map(async (name) => {
    const digest = createHash("sha256").update(await readFile(join(here, name))).digest("hex");
    return `${digest}  ${name}\n`;
  });
  return (await Promise.all(lines)).join("");
}
