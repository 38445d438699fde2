import { PintleError } from '../contract/index.ts';

export type ConfigPath = readonly (string | number)[];
export interface Position {
  /** From 1. */
  readonly line: number;
  readonly column: number;
}
/** Where a key (`part: 'key'`) or its value stands in the file; undefined when the path is not in the file at all. */
export type Locate = (path: ConfigPath, part: 'key' | 'value') => Position | undefined;

export interface ConfigIssue {
  readonly message: string;
  readonly path: ConfigPath;
  readonly part?: 'key' | 'value';
  /** Instead of a position: "from the command line". */
  readonly source?: string;
}

export interface PlacedIssue extends Partial<Position> {
  readonly file: string;
  readonly path: string;
  readonly message: string;
}

/** CONFIG_INVALID with one line for each issue: "pintle.yaml:7:12: plugins.use.store: ...". */
export function configError(issues: readonly ConfigIssue[], file: string, locate: Locate): PintleError {
  const placed = issues.map((issue): PlacedIssue => {
    const position = issue.source === undefined ? locate(issue.path, issue.part ?? 'value') : undefined;
    return { file: issue.source ?? file, ...position, path: formatPath(issue.path), message: issue.message };
  });
  const lines = placed.map(({ file: name, line, column, path, message }) => {
    const where = line === undefined ? name : `${name}:${line}:${column}`;
    return `${where}: ${path === '' ? '' : `${path}: `}${message}`;
  });
  return new PintleError('CONFIG_INVALID', lines.join('\n'), { details: { issues: placed } });
}

/** ['use', 'runtime', 0, 'a.b'] as use.runtime[0]["a.b"] */
export function formatPath(path: ConfigPath): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      if (!/^[\w$-]+$/.test(part)) return `[${JSON.stringify(part.length > 80 ? `${part.slice(0, 80)}...` : part)}]`;
      return index === 0 ? part : `.${part}`;
    })
    .join('');
}
