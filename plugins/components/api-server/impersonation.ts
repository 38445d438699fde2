/** `kubectl --as`: acting as somebody else, for those who may impersonate every part of who they want to be. */
import { PintleError, type ClusterServer, type UserInfo } from '../../../kernel/contract/index.ts';
import type { HttpRequest } from './http-exchange.ts';
import { assertAllowed } from './authorization.ts';
import { badRequest } from './status.ts';

const accountPattern = /^system:serviceaccount:([^:]+):([^:]+)$/;
const prefix = 'impersonate-';
const extraPrefix = `${prefix}extra-`;

/** Repeated headers, which HTTP/1.1 joins with ", ". */
function listOf(header: string | string[] | undefined): readonly string[] {
  return (Array.isArray(header) ? header : [header ?? ''])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/** The user that the request shall be served as: the caller, unless its headers say otherwise. */
export function effectiveUser(request: HttpRequest, caller: UserInfo, server: ClusterServer): UserInfo {
  const { headers } = request;
  if (!Object.keys(headers).some((header) => header.startsWith(prefix))) return caller;
  const name = String(headers['impersonate-user'] ?? '');
  const groups = listOf(headers['impersonate-group']);
  const uid = headers['impersonate-uid'] === undefined ? undefined : String(headers['impersonate-uid']);
  const extras = Object.keys(headers).filter((header) => header.startsWith(extraPrefix));
  if (name === '') {
    if (groups.length > 0 || uid !== undefined || extras.length > 0)
      throw badRequest('requested groups, uid or extra without impersonating a user name');
    return caller;
  }
  const account = accountPattern.exec(name);
  const ask = (
    group: string,
    resource: string,
    what: string,
    more: { namespace?: string; subresource?: string } = {},
  ) => assertAllowed(server, caller, { verb: 'impersonate', group, resource, name: what, ...more });
  if (account) ask('', 'serviceaccounts', account[2]!, { namespace: account[1]! });
  else ask('', 'users', name);
  for (const group of groups) ask('', 'groups', group);
  if (uid !== undefined) ask('authentication.k8s.io', 'uids', uid);
  const extra: Record<string, readonly string[]> = {};
  for (const header of extras) {
    const key = decodeURIComponentSafely(header.slice(extraPrefix.length));
    extra[key] = listOf(headers[header]);
    for (const value of extra[key]) ask('authentication.k8s.io', 'userextras', value, { subresource: key });
  }
  const implied = account
    ? ['system:serviceaccounts', `system:serviceaccounts:${account[1]!}`, 'system:authenticated']
    : name === 'system:anonymous'
      ? ['system:unauthenticated']
      : ['system:authenticated'];
  return {
    name,
    groups: [...new Set([...(account && groups.length > 0 ? [] : implied), ...groups, ...implied.slice(-1)])],
    ...(uid !== undefined && { uid }),
    ...(extras.length > 0 && { extra }),
  };
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new PintleError('BAD_REQUEST', `the header ${extraPrefix}${text} is not percent-encoded`);
  }
}
