/** When a certificate request has served its purpose: upstream's times. Pure. */
import { X509Certificate } from 'node:crypto';
import type { CertificateSigningRequest } from '../../../kernel/contract/kubernetes.ts';

export interface Lifetimes {
  /** Issued, denied or failed, since the condition that says so was last written. */
  readonly finishedMs: number;
  /** Neither approved nor denied, or approved but not signed. */
  readonly pendingMs: number;
}

/** When the request may go, in milliseconds since the epoch. */
export function expiry({ metadata, status }: CertificateSigningRequest, lifetimes: Lifetimes): number {
  const { conditions = [], certificate } = status ?? {};
  const createdMs = Date.parse(metadata.creationTimestamp ?? '');
  const dues = conditions
    .filter(({ type }) => type === 'Denied' || type === 'Failed' || (type === 'Approved' && certificate))
    .map(({ lastUpdateTime }) => timeOr(lastUpdateTime, createdMs) + lifetimes.finishedMs);
  if (!certificate && dues.length === 0) {
    const approved = conditions.find(({ type }) => type === 'Approved');
    dues.push(timeOr(approved?.lastUpdateTime, createdMs) + lifetimes.pendingMs);
  }
  const ends = certificate && endOf(certificate);
  return Math.min(...dues, ends || Infinity);
}

function timeOr(text: string | undefined, otherwise: number): number {
  const time = Date.parse(text ?? '');
  return Number.isNaN(time) ? otherwise : time;
}

/** Undefined when it is none that can be read: a signer of somebody else's put it there. */
function endOf(certificate: string): number | undefined {
  try {
    return Date.parse(new X509Certificate(Buffer.from(certificate, 'base64')).validTo) || undefined;
  } catch {
    return undefined;
  }
}
