/**
 * The test files that failures name: AVA's TAP begins a title with its file (`switch › an overlay …`), and says of a file
 * that died which one it was (`out/test/lab/leaks.test.js exited due to SIGKILL`). Undefined: one of them names none of
 * `files`, so that running files again could not clear it.
 */
export function failedFiles(failures: readonly string[], files: readonly string[]): readonly string[] | undefined {
  const found = new Set<string>();
  for (const failure of failures) {
    const title = /^not ok(?: \d+)? - (.*)$/m.exec(failure)?.[1] ?? '';
    const name = /^([\w-]+) › /.exec(title)?.[1] ?? /([\w-]+)\.test\.js exited /.exec(title)?.[1];
    const file = files.find((one) => one.endsWith(`/${name}.test.js`));
    if (file === undefined) return undefined;
    found.add(file);
  }
  return [...found];
}
