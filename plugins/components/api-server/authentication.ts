/**
 * Who is calling: the subject of a client certificate that our CA signed, the bearer of a token, or the owner of the unix socket. A connection's
 * certificate cannot change (renegotiation does not exist in TLS 1.3 and is off in 1.2), so it is looked at once.
 */
import type { TLSSocket } from 'node:tls';
import type { Http2ServerRequest } from 'node:http2';
import type { ClusterServer, UserInfo } from '../../../kernel/contract/index.ts';
import type { HttpRequest } from './http-exchange.ts';

/** The socket file has mode 0600: who can open it owns the cluster's state anyway. */
export const unixUser: UserInfo = Object.freeze({
  name: 'system:unix',
  groups: Object.freeze(['system:masters', 'system:authenticated']),
});

const known = new WeakMap<object, { readonly user: UserInfo | undefined }>();

/** Over TLS: by certificate, otherwise by token, which is looked at with every request: it may have ended since the last. */
export function tlsUser(request: HttpRequest, server: ClusterServer): UserInfo | undefined {
  return certificateUser(request) ?? tokenUser(request, server);
}

function tokenUser(request: HttpRequest, server: ClusterServer): UserInfo | undefined {
  const [, token] = /^Bearer +([^\s,]+)$/i.exec(request.headers.authorization ?? '') ?? [];
  return token === undefined ? undefined : server.authenticate(token);
}

function certificateUser(request: HttpRequest): UserInfo | undefined {
  const session = (request as Http2ServerRequest).stream?.session;
  const connection: object = session ?? request.socket;
  let entry = known.get(connection);
  if (entry === undefined) {
    entry = { user: userOfSocket(request.socket as TLSSocket) };
    known.set(connection, entry);
  }
  return entry.user;
}

function userOfSocket(socket: TLSSocket): UserInfo | undefined {
  if (!socket.authorized) return undefined;
  const subject = socket.getPeerCertificate().subject as unknown as
    Record<string, string | string[] | undefined> | undefined;
  const name = subject?.['CN'];
  if (typeof name !== 'string' || name === '') return undefined;
  const organizations = subject?.['O'];
  const groups = organizations === undefined ? [] : Array.isArray(organizations) ? organizations : [organizations];
  return Object.freeze({ name, groups: Object.freeze([...new Set([...groups, 'system:authenticated'])]) });
}

export function isMaster(user: UserInfo): boolean {
  return user.groups.includes('system:masters');
}
