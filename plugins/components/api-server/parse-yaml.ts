/** YAML text as plain data, by the rules of the API server: YAML 1.1, one document, no tags of programming languages. */
import { isMap, isNode, isScalar, LineCounter, parseDocument, visit } from 'yaml';
import { maxDepth } from './scan-json.ts';

export interface ParsedYaml {
  readonly value: unknown;
  /** Keys that occur twice: `line 3: key "a" already set in map`. */
  readonly duplicates: readonly string[];
}

/** Tags of YAML 1.1 that have no JSON form. */
const nonJsonTags = new Set(['timestamp', 'binary', 'set', 'omap', 'pairs'].map((name) => `tag:yaml.org,2002:${name}`));
/** Aliases count each time they are met: bounds what a bomb expands to. */
const maxNodes = 500_000;
const maxAliases = 100;
const maxDuplicates = 20;

/** Throws an Error whose message is fit for the client. */
export function parseYaml(text: string): ParsedYaml {
  try {
    const lines = new LineCounter();
    const document = parseDocument(text, {
      lineCounter: lines,
      version: '1.1',
      prettyErrors: false,
      // The library compares each key with all others of its map, which is quadratic; see `duplicateKeys`.
      uniqueKeys: false,
      customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || !nonJsonTags.has(tag.tag)),
    });
    const problem = document.errors[0] ?? document.warnings[0];
    if (problem !== undefined) throw new Error(problem.message);
    const value: unknown = document.toJS({ maxAliasCount: maxAliases });
    assertPlain(value);
    return { value, duplicates: duplicateKeys(document, lines) };
  } catch (error) {
    if (error instanceof RangeError) throw new Error('the document is nested too deep', { cause: error });
    throw error;
  }
}

function duplicateKeys(document: ReturnType<typeof parseDocument>, lines: LineCounter): readonly string[] {
  const duplicates: string[] = [];
  visit(document, (_key, node) => {
    if (!isMap(node)) return undefined;
    const seen = new Set<string>();
    for (const { key } of node.items) {
      const name = String(isScalar(key) ? key.value : key);
      if (seen.has(name) && duplicates.length < maxDuplicates) {
        const line = lines.linePos((isNode(key) ? key.range?.[0] : undefined) ?? 0).line;
        duplicates.push(`line ${line}: key ${JSON.stringify(name)} already set in map`);
      }
      seen.add(name);
    }
    return undefined;
  });
  return duplicates;
}

function assertPlain(root: unknown): void {
  let nodes = 0;
  const check = (value: unknown, depth: number): void => {
    if (depth > maxDepth) throw new Error(`the document is nested deeper than ${maxDepth} levels`);
    if (++nodes > maxNodes) throw new Error('the document is too large when its aliases are expanded');
    if (typeof value !== 'object' || value === null) return;
    for (const child of Array.isArray(value) ? value : Object.values(value)) check(child, depth + 1);
  };
  check(root, 1);
}
