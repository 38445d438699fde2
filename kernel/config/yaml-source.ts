/**
 * Reads one YAML document with positions, and refuses what a config file never needs: more than a megabyte, aliases that
 * multiply ("billion laughs"), nesting without end, duplicate or non-string keys, several documents, unknown tags.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Document, Node, Range } from 'yaml';
import { PintleError } from '../contract/index.ts';
import { configError, type ConfigPath, type Locate, type Position } from './config-issue.ts';

const maxConfigBytes = 1024 * 1024;
const maxDepth = 64;
const maxAliases = 100;

export interface YamlSource {
  readonly value: unknown;
  readonly locate: Locate;
}

export function readConfigText(file: string): string {
  try {
    const descriptor = openSync(file, 'r');
    try {
      const stat = fstatSync(descriptor);
      if (stat.isDirectory()) throw new Error('it is a directory, expected a file');
      if (stat.size > maxConfigBytes)
        throw new Error(`it has ${stat.size} bytes, at most ${maxConfigBytes} are accepted`);
      return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(descriptor));
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PintleError('CONFIG_INVALID', `${file}: cannot be read: ${reason}`, { cause });
  }
}

export async function parseYaml(text: string, file: string): Promise<YamlSource> {
  const refuse = (message: string, position?: Position): never => {
    throw configError([{ message, path: [] }], file, () => position);
  };
  if (text.length > maxConfigBytes) refuse(`has ${text.length} characters, at most ${maxConfigBytes} are accepted`);
  if (isTooDeep(text)) refuse(`is nested more than ${maxDepth} levels deep`);
  const { parseAllDocuments, LineCounter } = await import('yaml');
  const lines = new LineCounter();
  const options = { lineCounter: lines, stringKeys: true, prettyErrors: false, logLevel: 'silent' } as const;
  const parsed = parseAllDocuments(text, options);
  const documents = Array.isArray(parsed) ? parsed : [];
  const document = documents[0] as Document.Parsed | undefined;
  if (document === undefined) return refuse('is empty, expected apiVersion, kind and plugins');
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) refuse(fault.message, position(fault.pos[0]));
  const second = documents[1] as Document.Parsed | undefined;
  if (second !== undefined) refuse('holds several documents, expected one', position(second.range[0]));
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: maxAliases });
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error));
  }
  return { value, locate: (path, part) => locateNode(document, path, part, position) };
}

type Located = Node & { readonly range?: Range | null };

function locateNode(
  document: Document.Parsed,
  path: ConfigPath,
  part: 'key' | 'value',
  position: (offset: number) => Position,
): Position | undefined {
  let node = document.contents as Located | null;
  let at: Located | null = node;
  for (const [index, step] of path.entries()) {
    const items = (node as { readonly items?: readonly unknown[] } | null)?.items ?? [];
    if (typeof step === 'number') {
      node = (items[step] as Located | undefined) ?? null;
      if (node === null) break;
      at = node;
      continue;
    }
    const pair = items.find((item) => (item as { key?: { value?: unknown } } | null)?.key?.value === step) as
      { readonly key: Located; readonly value: Located | null } | undefined;
    // a path that ends outside the file (a required key that is missing): the place that should hold it
    if (pair === undefined) break;
    node = pair.value;
    at = part === 'key' && index === path.length - 1 ? pair.key : (pair.value ?? pair.key);
  }
  return at?.range == null ? undefined : position(at.range[0]);
}

/**
 * True when brackets or indentation could nest deeper than any config does. Asked before parsing: the parser recurses,
 * and a V8 that runs out of stack inside a regular expression ends the process instead of throwing.
 */
function isTooDeep(text: string): boolean {
  let open = 0;
  for (const line of text.split('\n')) {
    // each level of a block costs at least one column of spaces, dashes or question marks
    if (/^[ \t?-]*/.exec(line)![0].length > 2 * maxDepth) return true;
    for (const character of line) {
      if (character === '[' || character === '{') open += 1;
      else if (character === ']' || character === '}') open = Math.max(0, open - 1);
      if (open > maxDepth) return true;
    }
  }
  return false;
}
