/**
 * The test files that failures name: AVA's TAP begins a title with its file, by as much of the path as the lane's files do
 * not share (`switch › an overlay …`, `unit › controllers › faults › in the end …`; nothing where the lane has one file),
 * and says of a file that died which one it was (`out/test/lab/leaks.test.js exited due to SIGKILL`). What nobody caught
 * (`Error: listen EADDRINUSE …`) it tells without a file, and then that the file exited. Undefined: one of them names none
 * of `files`, so that running files again could not clear it.
 */
export function failedFiles(failures: readonly string[], files: readonly string[]): readonly string[] | undefined {
  const found = new Set<string>();
  let isUncaught = false;
  for (const failure of failures) {
    const [, number, title = ''] = /^not ok( \d+)? - (.*)$/m.exec(failure) ?? [];
    const whole = wholeFile(title, files);
    const file = whole ?? (number === undefined ? undefined : fileOf(title, files));
    if (file !== undefined) found.add(file);
    else if (number === undefined) return undefined;
    else isUncaught = true;
    if (whole !== undefined) isUncaught = false;
  }
  return isUncaught ? undefined : [...found];
}

/** The files that have a result of any kind in `output`, in the order of their last ones. */
export function reportedFiles(output: string, files: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const [, title = ''] of output.matchAll(/^(?:not )?ok \d+ - (.*)$/gm)) {
    const file = wholeFile(title, files) ?? fileOf(title, files);
    if (file === undefined) continue;
    found.delete(file);
    found.add(file);
  }
  return found;
}

/** Whether two failures are of one test; the later may be of a run of its file alone, whose titles do not name the file. */
export function isSameTest(earlier: string, later: string): boolean {
  const [before, title] = [earlier, later].map((failure) => /^not ok(?: \d+)? - (.*)$/m.exec(failure)?.[1]);
  return title !== undefined && (before === title || before?.endsWith(` › ${title}`) === true);
}

/** Of a line that is about a file as a whole. */
function wholeFile(title: string, files: readonly string[]): string | undefined {
  const name = /^(\S+\.test\.js) (?:exited|ended) /.exec(title)?.[1] ?? /^No tests found in ([^\s,]+)/.exec(title)?.[1];
  return name === undefined ? undefined : files.find((file) => file === name);
}

/** The file whose test a title is of. */
export function fileOf(title: string, files: readonly string[]): string | undefined {
  if (files.length === 1) return files[0];
  const words = title.split(' › ');
  const byTitle = titlesOf(files);
  // The title's own words follow its file.
  for (let length = words.length - 1; length > 0; length -= 1) {
    const file = byTitle.get(words.slice(0, length).join(' › '));
    if (file !== undefined) return file;
  }
  return undefined;
}

const known = new WeakMap<readonly string[], ReadonlyMap<string, string>>();

/** Each file by every end of its path; of two with the same end the first. */
function titlesOf(files: readonly string[]): ReadonlyMap<string, string> {
  const before = known.get(files);
  if (before !== undefined) return before;
  const titles = new Map<string, string>();
  for (const file of files) {
    const path = file.replace(/\.test\.js$/, '').split('/');
    for (let length = 1; length <= path.length; length += 1) {
      const end = path.slice(-length).join(' › ');
      if (!titles.has(end)) titles.set(end, file);
    }
  }
  known.set(files, titles);
  return titles;
}
