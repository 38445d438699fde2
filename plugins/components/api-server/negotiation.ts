/** Which form of answer the Accept header asks for, by the API's rules: the first acceptable clause of the highest q. */
import { PintleError } from '../../../kernel/contract/index.ts';

export interface MediaClause {
  /** Lower case, "application/json". */
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

export type OutputForm =
  | { readonly as: 'object' }
  | {
      readonly as: 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList';
      readonly version: 'v1' | 'v1beta1';
    };
export type Output = OutputForm & { readonly encoding: 'json' | 'yaml' };

/** Clauses in order of preference; equal q keeps the header's order, and an exact type precedes a wildcard. */
export function parseAccept(header: string | undefined): readonly MediaClause[] {
  if (header === undefined || header.trim() === '') return [];
  return header
    .split(',')
    .map((part) => {
      const [type = '', ...rest] = part.split(';').map((piece) => piece.trim());
      const parameters = new Map<string, string>();
      for (const piece of rest) {
        const equals = piece.indexOf('=');
        if (equals > 0)
          parameters.set(piece.slice(0, equals).trim().toLowerCase(), unquote(piece.slice(equals + 1).trim()));
      }
      const quality = Number(parameters.get('q') ?? '1');
      return { type: type.toLowerCase(), parameters, quality: Number.isFinite(quality) ? quality : 0 };
    })
    .filter((clause) => clause.type !== '' && clause.quality > 0)
    .sort((a, b) => b.quality - a.quality || wildness(a.type) - wildness(b.type));
}

function wildness(type: string): number {
  return type === '*/*' ? 2 : type.endsWith('/*') ? 1 : 0;
}

function unquote(text: string): string {
  return text.startsWith('"') && text.endsWith('"') && text.length > 1 ? text.slice(1, -1) : text;
}

function encodingOf(type: string): 'json' | 'yaml' | undefined {
  if (type === 'application/json' || type === '*/*' || type === 'application/*') return 'json';
  if (type === 'application/yaml' || type === 'application/x-yaml' || type === 'text/yaml') return 'yaml';
  return undefined;
}

export function negotiate(header: string | string[] | undefined): Output {
  const text = Array.isArray(header) ? header.join(',') : header;
  // What most programs send needs no look at its clauses.
  if (text === undefined || text === 'application/json' || text.trim() === '')
    return { as: 'object', encoding: 'json' };
  for (const clause of parseAccept(text)) {
    const encoding = encodingOf(clause.type);
    if (encoding === undefined) continue;
    const as = clause.parameters.get('as');
    if (as === undefined) return { as: 'object', encoding };
    const version = clause.parameters.get('v');
    if (clause.parameters.get('g') !== 'meta.k8s.io' || (version !== 'v1' && version !== 'v1beta1')) continue;
    if (as === 'Table' || as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList')
      return { as, version, encoding };
  }
  throw new PintleError(
    'NOT_ACCEPTABLE',
    'only the following media types are accepted: application/json, application/yaml',
  );
}
