/**
 * The test files that failures name: AVA's TAP begins a title with its file, by as much of the path as the lane's files do
 * not share (`switch › an overlay …`, `unit › controllers › faults › in the end …`; nothing where the lane has one file),
 * and says of a file that died which one it was (`out/test/lab/leaks.test.js exited due to SIGKILL`). Undefined: one of
 * them names none of `files`, so that running files again could not clear it.
 */
export function failedFiles(failures: readonly string[], files: readonly string[]): readonly string[] | undefined {
  const found = new Set<string>();
  for (const failure of failures) {
    const title = /^not ok \d+ - (.*)$/m.exec(failure)?.[1];
    const file = title === undefined ? undefined : fileOf(title, files);
    if (file === undefined) return undefined;
    found.add(file);
  }
  return [...found];
}

function fileOf(title: string, files: readonly string[]): string | undefined {
  const dead = /^(\S+\.test\.js) exited /.exec(title)?.[1];
  if (dead !== undefined) return files.find((file) => file === dead);
  if (files.length === 1) return files[0];
  const words = title.split(' › ');
  let best: { readonly file: string; readonly length: number } | undefined;
  for (const file of files) {
    const path = file.replace(/\.test\.js$/, '').split('/');
    // The title's own words follow its file.
    for (let length = 1; length < words.length && length <= path.length; length += 1) {
      const isNamed = path.slice(-length).every((part, index) => part === words[index]);
      if (isNamed && length > (best?.length ?? 0)) best = { file, length };
    }
  }
  return best?.file;
}
