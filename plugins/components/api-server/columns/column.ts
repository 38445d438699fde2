/** A column of `kubectl get`, and the cells' formats that many kinds share, printed as Kubernetes prints them. */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  /** "name" marks the object's name. */
  readonly format?: string;
  readonly description?: string;
  /** 0: always; 1: with -o wide. */
  readonly priority?: 0 | 1;
}

export interface TableColumns<T extends KubernetesObject = KubernetesObject> {
  readonly columns: readonly Column[];
  cells(object: T, now: number): readonly unknown[];
}

/** By "group/plural": columns do not depend on the version, except where a second key with the version says so. */
export type ColumnTable = Readonly<Record<string, TableColumns<never>>>;

export const nameColumn: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name must be unique within a namespace.',
};
export const ageColumn: Column = { name: 'Age', type: 'string', description: 'Time since the object was created.' };

export function text(name: string, description = ''): Column {
  return { name, type: 'string', description };
}
export function integer(name: string, description = ''): Column {
  return { name, type: 'integer', description };
}
export function wide(column: Column): Column {
  return { ...column, priority: 1 };
}

/** Name first, Age where it stands in `kubectl get`. */
export function table<T extends KubernetesObject>(
  columns: readonly Column[],
  cells: (object: T, now: number) => readonly unknown[],
): TableColumns<T> {
  return { columns, cells };
}

export function ageOf(object: KubernetesObject, now: number): string {
  return since(object.metadata.creationTimestamp, now);
}

/** "<unknown>" for no time, else the span as duration.HumanDuration prints it. */
export function since(timestamp: string | null | undefined, now: number): string {
  if (timestamp === undefined || timestamp === null || timestamp === '') return '<unknown>';
  const time = Date.parse(timestamp);
  return Number.isNaN(time) ? '<unknown>' : humanDuration(now - time);
}

export function humanDuration(spanMs: number): string {
  const seconds = Math.trunc(spanMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  if (hours < 192) return hours % 24 === 0 ? `${Math.trunc(hours / 24)}d` : `${Math.trunc(hours / 24)}d${hours % 24}h`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24)}d`;
  const years = Math.trunc(hours / 24 / 365);
  const days = Math.trunc(hours / 24) % 365;
  if (hours < 24 * 365 * 8) return days === 0 ? `${years}y` : `${years}y${days}d`;
  return `${years}y`;
}

export function labelsText(labels: Readonly<Record<string, string>> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return entries.length === 0 ? '<none>' : entries.map(([key, value]) => `${key}=${value}`).join(',');
}

interface SelectorShape {
  readonly matchLabels?: Readonly<Record<string, string>> | undefined;
  readonly matchExpressions?:
    | readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] | null }[]
    | undefined;
}

/** As metav1.FormatLabelSelector. */
export function selectorText(selector: SelectorShape | undefined): string {
  if (selector === undefined) return '<none>';
  const parts = Object.entries(selector.matchLabels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const list = `(${[...(values ?? [])].sort().join(',')})`;
    if (operator === 'In') parts.push(`${key} in ${list}`);
    else if (operator === 'NotIn') parts.push(`${key} notin ${list}`);
    else if (operator === 'Exists') parts.push(key);
    else if (operator === 'DoesNotExist') parts.push(`!${key}`);
  }
  return parts.length === 0 ? '<none>' : parts.join(',');
}

interface TemplateShape {
  readonly spec?: { readonly containers?: readonly { readonly name?: string; readonly image?: string }[] } | undefined;
}

export function containerNames(template: TemplateShape | undefined): string {
  return (template?.spec?.containers ?? []).map((container) => container.name ?? '').join(',');
}
export function containerImages(template: TemplateShape | undefined): string {
  return (template?.spec?.containers ?? []).map((container) => container.image ?? '').join(',');
}

export function orNone(value: string | undefined | null): string {
  return value === undefined || value === null || value === '' ? '<none>' : value;
}

export function countOf(map: object | undefined | null): number {
  return map === undefined || map === null ? 0 : Object.keys(map).length;
}
