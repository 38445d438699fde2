/** Query parameters of the API, parsed as its own conversion does, and checked as its option validation does. */
import {
  PintleError,
  type Cause,
  type DeleteOptions,
  type ListOptions,
  type WatchOptions,
  type WriteOptions,
} from '../../../kernel/contract/index.ts';
import { badRequest } from './status.ts';

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

function booleanOf(query: URLSearchParams, name: string): boolean | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  return !(value === '0' || value.toLowerCase() === 'false');
}

function integerOf(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  if (!/^[+-]?\d+$/.test(value))
    throw badRequest(`${name}: strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
  const number = Number(value);
  if (!Number.isSafeInteger(number))
    throw badRequest(`${name}: strconv.ParseInt: parsing ${JSON.stringify(value)}: value out of range`);
  return number;
}

function resourceVersionOf(query: URLSearchParams): string | undefined {
  const value = query.get('resourceVersion');
  if (value === null || value === '') return undefined;
  if (!/^\d{1,18}$/.test(value))
    throw badRequest(`resourceVersion: Invalid value: ${JSON.stringify(value)}: must be a decimal number`);
  return value;
}

function textOf(query: URLSearchParams, name: string): string | undefined {
  const value = query.get(name);
  return value === null || value === '' ? undefined : value;
}

export function invalidOptions(kind: string, causes: readonly Cause[]): PintleError {
  const text = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const joined = text.length === 1 ? text[0] : `[${text.join(', ')}]`;
  return new PintleError('INVALID', `${kind}.meta.k8s.io "" is invalid: ${joined}`, {
    details: { kind, group: 'meta.k8s.io', causes },
  });
}

const forbidden = (field: string, why: string): Cause => ({
  reason: 'FieldValueForbidden',
  field,
  message: `Forbidden: ${why}`,
});
const unsupported = (field: string, value: string, known: readonly string[]): Cause => ({
  reason: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${known.map((entry) => `"${entry}"`).join(', ')}`,
});

export interface CollectionOptions {
  readonly watch: boolean;
  readonly list: ListOptions;
  readonly stream: WatchOptions;
}

/** For GET and DELETE of a collection. */
export function collectionOptions(query: URLSearchParams): CollectionOptions {
  const watch = booleanOf(query, 'watch') ?? false;
  const resourceVersion = resourceVersionOf(query);
  const match = textOf(query, 'resourceVersionMatch');
  const token = textOf(query, 'continue');
  const limit = integerOf(query, 'limit');
  const sendInitialEvents = booleanOf(query, 'sendInitialEvents');
  const causes: Cause[] = [];
  if (match !== undefined) {
    if (match !== 'Exact' && match !== 'NotOlderThan')
      causes.push(unsupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan']));
    else if (watch) {
      if (sendInitialEvents === undefined)
        causes.push(
          forbidden(
            'resourceVersionMatch',
            'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
          ),
        );
      else if (match !== 'NotOlderThan') causes.push(unsupported('resourceVersionMatch', match, ['NotOlderThan']));
    } else if (resourceVersion === undefined)
      causes.push(
        forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided'),
      );
    else if (token !== undefined)
      causes.push(forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided'));
    else if (match === 'Exact' && resourceVersion === '0')
      causes.push(
        forbidden('resourceVersionMatch', 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'),
      );
  }
  if (sendInitialEvents !== undefined) {
    if (!watch) causes.push(forbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
    else if (match === undefined)
      causes.push(
        forbidden('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'),
      );
  }
  if (causes.length > 0) throw invalidOptions('ListOptions', causes);
  const selectors = { labelSelector: textOf(query, 'labelSelector'), fieldSelector: textOf(query, 'fieldSelector') };
  const timeoutSeconds = integerOf(query, 'timeoutSeconds');
  const fields = textOf(query, 'pintle-fields')?.split(',');
  return {
    watch,
    list: {
      ...selectors,
      limit: limit !== undefined && limit > 0 ? limit : undefined,
      continue: token,
      resourceVersion,
      resourceVersionMatch: match as ListOptions['resourceVersionMatch'],
      fields,
    },
    stream: {
      ...selectors,
      resourceVersion,
      allowWatchBookmarks: booleanOf(query, 'allowWatchBookmarks'),
      sendInitialEvents,
      timeoutSeconds: timeoutSeconds !== undefined && timeoutSeconds > 0 ? timeoutSeconds : undefined,
      fields,
    },
  };
}

/** For reads of one object. */
export function getOptions(query: URLSearchParams): { readonly resourceVersion: string | undefined } {
  return { resourceVersion: resourceVersionOf(query) };
}

/** `kind`: "CreateOptions" ... for messages. `dryRun` given as a list: of a DeleteOptions body. */
export function writeOptions(
  query: URLSearchParams,
  kind: string,
): WriteOptions & { readonly fieldValidation: FieldValidation } {
  const causes: Cause[] = [];
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  for (const value of dryRun) if (value !== 'All') causes.push(unsupported('dryRun', value, ['All']));
  const fieldManager = textOf(query, 'fieldManager');
  if (fieldManager !== undefined) {
    if (fieldManager.length > 128)
      causes.push({
        reason: 'FieldValueTooLong',
        field: 'fieldManager',
        message: 'Too long: may not be more than 128 bytes',
      });
    else if (/[^\x20-\x7e\u00a0-\uffff]/.test(fieldManager))
      causes.push({
        reason: 'FieldValueInvalid',
        field: 'fieldManager',
        message: `Invalid value: ${JSON.stringify(fieldManager)}: should only contain printable characters`,
      });
  }
  const fieldValidation = textOf(query, 'fieldValidation') ?? 'Warn';
  if (!['Ignore', 'Warn', 'Strict'].includes(fieldValidation))
    causes.push(unsupported('fieldValidation', fieldValidation, ['Ignore', 'Strict', 'Warn']));
  if (causes.length > 0) throw invalidOptions(kind, causes);
  return { dryRun: dryRun.length > 0, fieldManager, fieldValidation: fieldValidation as FieldValidation };
}

export function forceOf(query: URLSearchParams): boolean | undefined {
  return booleanOf(query, 'force');
}

/** From the query and, when there is one, a DeleteOptions body, which wins. */
export function deleteOptions(query: URLSearchParams, body: unknown): DeleteOptions {
  const write = writeOptions(query, 'DeleteOptions');
  if (body !== undefined && (typeof body !== 'object' || body === null || Array.isArray(body)))
    throw badRequest('the body of a delete must be a DeleteOptions object');
  const given = (body ?? {}) as Record<string, unknown>;
  if (given['kind'] !== undefined && given['kind'] !== '' && given['kind'] !== 'DeleteOptions')
    throw badRequest(`the body of a delete must be of kind DeleteOptions, got ${JSON.stringify(given['kind'])}`);
  const causes: Cause[] = [];
  const grace = given['gracePeriodSeconds'] ?? integerOf(query, 'gracePeriodSeconds');
  if (grace !== undefined && grace !== null && (typeof grace !== 'number' || !Number.isInteger(grace)))
    throw badRequest('DeleteOptions.gracePeriodSeconds must be an integer');
  if (typeof grace === 'number' && grace < 0)
    causes.push({
      reason: 'FieldValueInvalid',
      field: 'gracePeriodSeconds',
      message: `Invalid value: ${grace}: must be greater than or equal to 0`,
    });
  const policy = given['propagationPolicy'] ?? textOf(query, 'propagationPolicy');
  const policies = ['Orphan', 'Background', 'Foreground'];
  if (policy !== undefined && policy !== null && policy !== '' && !policies.includes(policy as string))
    causes.push(unsupported('propagationPolicy', String(policy), ['Background', 'Foreground', 'Orphan']));
  const orphan = given['orphanDependents'] ?? booleanOf(query, 'orphanDependents');
  if (typeof orphan === 'boolean' && typeof policy === 'string' && policy !== '')
    causes.push({
      reason: 'FieldValueInvalid',
      field: 'propagationPolicy',
      message: `Invalid value: "${policy}": orphanDependents and deletionPropagation cannot be both set`,
    });
  const dryRun = given['dryRun'];
  if (dryRun !== undefined && dryRun !== null) {
    if (!Array.isArray(dryRun)) throw badRequest('DeleteOptions.dryRun must be a list');
    for (const value of dryRun) if (value !== 'All') causes.push(unsupported('dryRun', String(value), ['All']));
  }
  if (causes.length > 0) throw invalidOptions('DeleteOptions', causes);
  const preconditions = given['preconditions'];
  return {
    ...write,
    dryRun: write.dryRun === true || (Array.isArray(dryRun) && dryRun.length > 0),
    gracePeriodSeconds: typeof grace === 'number' ? grace : undefined,
    propagationPolicy:
      typeof policy === 'string' && policy !== ''
        ? (policy as DeleteOptions['propagationPolicy'])
        : typeof orphan === 'boolean'
          ? orphan
            ? 'Orphan'
            : 'Background'
          : undefined,
    preconditions: preconditionsOf(preconditions),
  };
}

function preconditionsOf(value: unknown): DeleteOptions['preconditions'] {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value))
    throw badRequest('DeleteOptions.preconditions must be an object');
  const { uid, resourceVersion } = value as Record<string, unknown>;
  return {
    ...(typeof uid === 'string' ? { uid } : {}),
    ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
  };
}
