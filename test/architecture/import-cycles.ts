/** Files that import each other in a circle, types and lazy imports included: none of them can be understood by itself. */
import { specifiersOf, targetOf, type SourceFile } from './import-rules.ts';

/** Each circle once, as the files of one strongly connected part, sorted. */
export function importCycles(root: string, sources: readonly SourceFile[]): readonly (readonly string[])[] {
  const known = new Set(sources.map(({ path }) => path));
  const targets = new Map(
    sources.map(({ path, text }) => [
      path,
      specifiersOf(text)
        .map((specifier) => targetOf(root, path, specifier))
        .filter((target) => known.has(target)),
    ]),
  );
  // Tarjan's algorithm.
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const cycles: (readonly string[])[] = [];
  const visit = (path: string): number => {
    order.set(path, order.size);
    lowest.set(path, order.get(path)!);
    stack.push(path);
    for (const target of targets.get(path) ?? []) {
      if (!order.has(target)) lowest.set(path, Math.min(lowest.get(path)!, visit(target)));
      else if (stack.includes(target)) lowest.set(path, Math.min(lowest.get(path)!, order.get(target)!));
    }
    if (lowest.get(path) === order.get(path)) {
      const part = stack.splice(stack.indexOf(path));
      if (part.length > 1 || (targets.get(path) ?? []).includes(path)) cycles.push(part.sort());
    }
    return lowest.get(path)!;
  };
  for (const path of targets.keys()) if (!order.has(path)) visit(path);
  return cycles;
}
