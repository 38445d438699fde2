/**
 * Signs CertificateSigningRequests that were approved, for Kubernetes' own signers. Reads the CA's key from its file each
 * time, so that it is held nowhere else and a renewed one is used at once.
 */
import { readFile } from 'node:fs/promises';
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type {
  CertificateSigningRequest,
  CertificateSigningRequestStatus,
} from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isSigner, refusal } from './signer-rules.ts';

export interface SigningOptions {
  readonly cluster: Cluster;
  readonly certFile: string;
  readonly keyFile: string;
  readonly maxLifetimeMs: number;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

/** What a request that asks for less gets. */
const minLifetimeMs = 10 * 60_000;

function isSignable({ spec, status }: CertificateSigningRequest): boolean {
  const has = (type: string) =>
    status?.conditions?.some((each) => each.type === type && (each.status ?? 'True') === 'True') ?? false;
  return isSigner(spec.signerName) && has('Approved') && !has('Denied') && !has('Failed') && !status?.certificate;
}

export class SigningController {
  readonly #options: SigningOptions;
  readonly #requests: Informer<CertificateSigningRequest>;

  constructor(options: SigningOptions) {
    this.#options = options;
    this.#requests = informersFor(options.cluster, options.log).get(resources.certificateSigningRequests);
  }

  run(signal: AbortSignal): Promise<void> {
    const { concurrency, log, clock } = this.#options;
    return runReconciler(
      {
        name: 'certificate-signing',
        concurrency,
        log,
        clock,
        informers: [this.#requests],
        watch: (queue) =>
          void this.#requests.onChange(({ object }) => {
            if (object && isSignable(object)) queue.add(object.metadata.name);
          }),
        reconcile: (name) => this.#reconcile(name),
      },
      signal,
    );
  }

  async #reconcile(name: string): Promise<void> {
    const request = this.#requests.get(name);
    if (!request || !isSignable(request)) return;
    const status = { ...request.status, ...(await this.#verdict(request)) };
    try {
      const options = { subresource: 'status' };
      await this.#options.cluster.update(resources.certificateSigningRequests, { ...request, status }, options);
    } catch (error) {
      // Somebody was faster, which comes as a change.
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }

  async #verdict({ spec, status }: CertificateSigningRequest): Promise<CertificateSigningRequestStatus> {
    const { certFile, keyFile, maxLifetimeMs, clock } = this.#options;
    const usages = spec.usages ?? [];
    const failed = (message: string): CertificateSigningRequestStatus => {
      const now = apiTime(clock.now());
      const times = { lastUpdateTime: now, lastTransitionTime: now };
      const failure = { type: 'Failed', status: 'True', reason: 'SignerValidationFailure', message, ...times };
      return { conditions: [...(status?.conditions ?? []), failure] };
    };
    const { readRequest } = await import('./sign-request.ts');
    let asked;
    try {
      asked = readRequest(Buffer.from(spec.request, 'base64').toString('latin1'));
    } catch (error) {
      return failed(`unable to parse csr: ${error instanceof Error ? error.message : String(error)}`);
    }
    const fault = isSigner(spec.signerName) ? refusal(spec.signerName, asked.wanted, usages) : undefined;
    if (fault !== undefined) return failed(fault);
    if (!(await asked.isGenuine())) return failed('unable to verify certificate request signature');
    const authority = { certificate: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
    const askedMs = spec.expirationSeconds === undefined ? maxLifetimeMs : spec.expirationSeconds * 1000;
    const lifetimeMs = Math.max(Math.min(askedMs, maxLifetimeMs), minLifetimeMs);
    const certificate = await asked.sign(authority, usages, lifetimeMs, clock.now());
    return { certificate: Buffer.from(certificate).toString('base64') };
  }
}
