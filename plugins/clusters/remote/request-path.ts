/** Paths and query strings of the API. */
import type {
  DeleteOptions,
  ListOptions,
  ResourceType,
  WatchOptions,
  WriteOptions,
} from '../../../kernel/contract/index.ts';

export function resourcePath(
  type: ResourceType,
  namespace: string | undefined,
  name?: string,
  subresource?: string,
): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope = type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  const below = subresource === undefined ? '' : `/${subresource}`;
  return `${root}${scope}/${type.resource}${object}${below}`;
}

type Parameters = Readonly<Record<string, string | number | boolean | undefined>>;

export function withQuery(path: string, parameters: Parameters): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value));
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

export function listParameters(options: ListOptions): Parameters {
  return {
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    limit: options.limit,
    continue: options.continue,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
    'pintle-fields': options.fields?.join(','),
  };
}

export function watchParameters(options: WatchOptions): Parameters {
  const sendInitialEvents = options.sendInitialEvents;
  return {
    watch: true,
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    resourceVersion: options.resourceVersion,
    allowWatchBookmarks: options.allowWatchBookmarks,
    sendInitialEvents,
    resourceVersionMatch: sendInitialEvents === undefined ? undefined : 'NotOlderThan',
    timeoutSeconds: options.timeoutSeconds,
    'pintle-fields': options.fields?.join(','),
  };
}

export function writeParameters(options: WriteOptions | undefined): Parameters {
  return {
    dryRun: options?.dryRun === true ? 'All' : undefined,
    fieldManager: options?.fieldManager,
    // The contract's default for callers in a program; the server's own default warns.
    fieldValidation: options?.fieldValidation ?? 'Ignore',
  };
}

export function deleteBody(options: DeleteOptions | undefined): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    gracePeriodSeconds: options?.gracePeriodSeconds,
    propagationPolicy: options?.propagationPolicy,
    preconditions: options?.preconditions,
    dryRun: options?.dryRun === true ? ['All'] : undefined,
  });
}
