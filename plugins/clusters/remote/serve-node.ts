/** Keeps one tunnel to the API server open, over which it reaches this node's containers, and opens it again when it ends. */
import type { Clock, Cluster, Logger } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { serveNodeTunnel } from '../../../kernel/machinery/node-tunnel/tunnel-server.ts';
import { tunnelPath, tunnelUpgrade } from '../../../kernel/machinery/node-tunnel/tunnel-protocol.ts';
import type { HttpClient } from './http-client.ts';

const firstPauseMs = 200;
const longestPauseMs = 10_000;
/** A tunnel that held for so long was a good one: the next pause is short again. */
const goodTunnelMs = 5_000;

export function nodeServer(
  client: HttpClient,
  facts: { readonly log: Logger; readonly clock: Clock; readonly stopping: AbortSignal },
): Cluster['serveNode'] {
  const { log, clock } = facts;
  return async (nodeName, service, callerSignal) => {
    const signal = AbortSignal.any([callerSignal, facts.stopping]);
    let pauseMs = firstPauseMs;
    let lastReason = '';
    while (!signal.aborted) {
      const begin = clock.now();
      try {
        const { socket, head } = await client.upgrade(tunnelPath(nodeName), tunnelUpgrade, signal);
        if (head.length > 0) socket.unshift(head);
        lastReason = '';
        log.debug(`tunnel of node ${nodeName} to the API server is open`);
        await serveNodeTunnel(socket, service, signal);
        socket.destroy();
      } catch (error) {
        const reason = String((error as Error).message);
        // Once for each new reason: a server that is down for an hour is one line.
        if (!signal.aborted && reason !== lastReason)
          log.warn(`tunnel of node ${nodeName} to the API server is down: ${reason}; trying again`);
        lastReason = reason;
      }
      if (signal.aborted) return;
      pauseMs = clock.now() - begin > goodTunnelMs ? firstPauseMs : Math.min(pauseMs * 2, longestPauseMs);
      // Jitter: a server that comes back is not met by all nodes in the same moment.
      await pause(clock, pauseMs * (0.5 + Math.random() / 2), signal);
    }
  };
}
