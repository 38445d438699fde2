/** Requests over TLS as a given client, HTTP/2 or HTTP/1.1. */
import { readFile } from 'node:fs/promises';
import { connect } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import type { Api } from './api-harness.ts';

export interface Identity {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
}

export async function identityOf(api: Api, name: string | undefined): Promise<Identity> {
  const text = (file: string): Promise<string> => readFile(join(api.folder, 'pki', file), 'utf8');
  const ca = await text('ca.crt');
  return name === undefined ? { ca } : { ca, cert: await text(`${name}.crt`), key: await text(`${name}.key`) };
}

export async function apiUrl(api: Api): Promise<string> {
  return /server: "(.*)"/.exec(await readFile(api.kubeconfig, 'utf8'))?.[1] ?? '';
}

export interface TlsReply {
  readonly status: number;
  readonly json: any;
}

export function overHttp2(url: string, path: string, identity: Identity): Promise<TlsReply> {
  return new Promise((resolve, reject) => {
    const session = connect(url, identity);
    session.on('error', reject);
    const stream = session.request({ ':path': path });
    let status = 0;
    let text = '';
    stream.on('response', (headers) => (status = headers[':status'] ?? 0));
    stream.on('data', (chunk) => (text += String(chunk)));
    stream.on('end', () => {
      session.close();
      resolve({ status, json: parsed(text) });
    });
    stream.on('error', reject);
  });
}

export function overHttp1(url: string, path: string, identity: Identity): Promise<TlsReply> {
  return new Promise((resolve, reject) => {
    httpsRequest(`${url}${path}`, { ...identity, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => (text += String(chunk)));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, json: parsed(text) }));
    })
      .on('error', reject)
      .end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
