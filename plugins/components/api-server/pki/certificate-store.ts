/**
 * The cluster's CA and the certificates it has signed, as files in `<stateDir>/pki` (folders 0700, keys 0600):
 *
 *   ca.crt ca.key  apiserver.crt apiserver.key  admin.crt admin.key  nodes/NAME.crt nodes/NAME.key
 *
 * Each is made once, and made anew when less than a third of its life is left, when the CA is another one, or when it
 * lacks a name. The CA itself lives ten years; a CA that cannot be read is never replaced behind the user's back.
 */
import { X509Certificate } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { PintleError } from '../../../../kernel/contract/index.ts';
import type { KeyAndCertificate, LeafRequest } from './issue-certificate.ts';

const yearMs = 365 * 24 * 3600_000;

export interface CertificateStore {
  readonly authority: KeyAndCertificate;
  /** Reads it, or issues it when it is missing, damaged, about to end, or does not fit the request. */
  ensure(file: string, request: LeafRequest): Promise<KeyAndCertificate & { readonly issued: boolean }>;
  /** Names of the nodes that have a certificate. */
  nodeNames(): Promise<readonly string[]>;
}

export async function openCertificateStore(folder: string, now: () => number): Promise<CertificateStore> {
  await mkdir(join(folder, 'nodes'), { recursive: true, mode: 0o700 });
  const authority = await openAuthority(folder, now);
  const root = new X509Certificate(authority.certificate);
  return {
    authority,
    async ensure(file, request) {
      const present = await readPair(join(folder, file));
      if (present !== undefined && isUsable(present, root, request, now())) return { ...present, issued: false };
      const { issueLeaf } = await import('./issue-certificate.ts');
      const fresh = await issueLeaf(authority, request, now());
      await writePair(join(folder, file), fresh);
      return { ...fresh, issued: true };
    },
    async nodeNames() {
      const entries = await readdir(join(folder, 'nodes'));
      return entries.filter((entry) => entry.endsWith('.crt')).map((entry) => entry.slice(0, -'.crt'.length));
    },
  };
}

async function openAuthority(folder: string, now: () => number): Promise<KeyAndCertificate> {
  const path = join(folder, 'ca');
  const present = await readPair(path);
  if (present !== undefined) {
    const certificate = parsed(present.certificate);
    if (certificate === undefined || !certificate.ca)
      throw new PintleError(
        'PLUGIN_START_FAILED',
        `${path}.crt is not a CA certificate: restore it from a copy, or remove the folder ${folder} to start with a new CA (every kubeconfig must then be made anew)`,
      );
    if (Date.parse(certificate.validTo) > now()) return present;
  }
  const { issueAuthority } = await import('./issue-certificate.ts');
  const fresh = await issueAuthority('pintle', 10 * yearMs, now());
  await writePair(path, fresh);
  return fresh;
}

function isUsable(pair: KeyAndCertificate, root: X509Certificate, request: LeafRequest, now: number): boolean {
  const certificate = parsed(pair.certificate);
  if (certificate === undefined || !pair.key.includes('PRIVATE KEY') || !certificate.verify(root.publicKey))
    return false;
  const begins = Date.parse(certificate.validFrom);
  const ends = Date.parse(certificate.validTo);
  const needed = Math.min(request.lifetimeMs, ends - begins) / 3;
  if (ends - now < needed || ends - now > request.lifetimeMs + yearMs) return false;
  if (!certificate.subject.split('\n').includes(`CN=${request.commonName}`)) return false;
  return request.names.every((name) =>
    isIP(name) === 0
      ? certificate.checkHost(name, { subject: 'never' }) !== undefined
      : certificate.checkIP(name) !== undefined,
  );
}

function parsed(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

async function readPair(path: string): Promise<KeyAndCertificate | undefined> {
  try {
    return { certificate: await readFile(`${path}.crt`, 'utf8'), key: await readFile(`${path}.key`, 'utf8') };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function writePair(path: string, pair: KeyAndCertificate): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // The key first: a certificate without its key would be taken for a damaged pair, a key alone is only overwritten.
  await writeWhole(`${path}.key`, pair.key, 0o600);
  await writeWhole(`${path}.crt`, pair.certificate, 0o644);
}

export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  await writeFile(temporary, text, { mode });
  await rename(temporary, path);
}
