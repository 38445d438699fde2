/**
 * The data path's process: `node data-path-main.js SETTINGS LINK FOLDER`, with the TUN device as descriptor 3, inside the node's
 * network namespace. Outlives the agent that started it; any later one finds it by the socket in FOLDER. Owns the device,
 * which vanishes with it, the UDP socket and the control socket.
 *
 * It ends when told to, and when its device is deleted, or the link that it gathers packets with: by SIGKILL to itself, since threads that sit in a system call would
 * hold up any other end, and there is nothing to save.
 */
import { openSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { isRefused } from '../../linux/libc.ts';
import { openRtnetlink, type Link, type Route } from '../../linux/rtnetlink.ts';
import { readMessages, socketName, writeMessage, type DataPathSettings, type Question } from './data-path-protocol.ts';
import type { DataPath } from './data-path.ts';
import { openDgramPath } from './dgram-path.ts';
import type { PeerRoute } from './peer-table.ts';

const tun = 3;
const [settingsText = '', link = '', folder = ''] = process.argv.slice(2);
const settings = JSON.parse(settingsText) as DataPathSettings;
const links = openRtnetlink();

const sockets = new Set<Socket>();
/** The data path, as soon as there is one. */
const serving: DataPath[] = [];

const end = (): never => {
  try {
    // What the kernel does by itself ends now, and not only when it has cleaned up behind the process.
    for (const path of serving) {
      path.setPeers([]);
      path.close?.();
    }
  } catch (error) {
    process.stderr.write(`${String(error)}\n`);
  }
  // The kernel takes its time to clean up behind a process: whoever asked for its end need not wait for that.
  for (const socket of sockets) socket.destroy();
  process.kill(process.pid, 'SIGKILL');
  throw new Error('not reached');
};

/** The library of the other path is not loaded. */
async function open(): Promise<DataPath> {
  if (settings.path === 'dgram') return openDgramPath(settings, tun);
  const { openOffloadPath } = await import('./offload/offload-path.ts');
  return openOffloadPath(
    settings,
    tun,
    { device: Number(link), underlay: findUnderlay() },
    {
      onEnd(reason) {
        process.stderr.write(`${reason}\n`);
        end();
      },
      onLink: (index) => endWithLink(index, false),
    },
  );
}

/** A predecessor whose device has just been deleted may hold the port a moment longer. */
async function openWhenFree(): Promise<DataPath> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      const isBusy = (error as NodeJS.ErrnoException).code === 'EADDRINUSE' || isRefused(error, 'EADDRINUSE');
      if (!isBusy || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** A new process makes anew what somebody else took away. */
function endWithLink(index: number, mayBeDown: boolean): void {
  const isLost = (link: Link | undefined): boolean => link === undefined || (!link.up && !mayBeDown);
  links.subscribe((event) => {
    if (event.kind === 'link' && event.link.index === index && (event.deleted || isLost(event.link))) end();
    if (event.kind === 'overflow' && isLost(links.getLink(index))) end();
  });
  if (isLost(links.getLink(index))) end();
}

/** Index of the link that has the underlay address. */
function findUnderlay(): number | undefined {
  return links.listAddresses().find(({ address }) => address === settings.local)?.index;
}

function followUnderlay({ setUnderlay }: DataPath): void {
  if (setUnderlay === undefined) return;
  let last = findUnderlay();
  links.subscribe((event) => {
    if (event.kind !== 'address' && event.kind !== 'link' && event.kind !== 'overflow') return;
    const found = findUnderlay();
    if (found === last) return;
    last = found;
    try {
      setUnderlay(found);
    } catch (error) {
      // Peers count on it: a process that finds out anew what it can do.
      process.stderr.write(`${String(error)}\n`);
      end();
    }
  });
}

const isToOwnPods = ({ destination }: Route): boolean =>
  settings.sources.some((one) => destination.startsWith(`${one}/`));

/** Whether this node's own pods are on a bridge. */
function arePodsBridged(): boolean {
  const found = links.listRoutes().filter(isToOwnPods);
  return found.some(({ link }) => link !== undefined && links.getLink(link)?.kind === 'bridge');
}

/** From a device large packets never come whole; from another virtual link they may. */
function isUnderlayVirtual(): boolean {
  const underlay = findUnderlay();
  return underlay !== undefined && links.getLink(underlay)?.kind !== undefined;
}

function followPods({ setBridged }: DataPath): void {
  if (setBridged === undefined) return;
  let last = false;
  const look = (): void => {
    const found = isUnderlayVirtual() && arePodsBridged();
    if (found !== last) setBridged(found);
    last = found;
  };
  links.subscribe((event) => {
    const isConcerned =
      event.kind === 'overflow' ||
      (event.kind === 'link' && event.link.kind === 'bridge') ||
      (event.kind === 'address' && event.address.address === settings.local) ||
      (event.kind === 'route' && isToOwnPods(event.route));
    if (isConcerned) look();
  });
  look();
}

const textOf = (peer: PeerRoute): string =>
  JSON.stringify([peer.address, peer.framing, [...peer.podCidrs].sort(), [...peer.addresses].sort()]);

function serve(path: DataPath): void {
  let known: ReadonlySet<string> = new Set();
  const answer = (question: Question): unknown => {
    switch (question.verb) {
      case 'hello':
        return { settings, pid: process.pid, features: path.features };
      case 'peers': {
        const wanted = new Set(question.peers.map(textOf));
        const removed = [...known].filter((one) => !wanted.has(one)).length;
        const added = [...wanted].filter((one) => !known.has(one)).length;
        if (removed + added > 0) path.setPeers(question.peers);
        known = wanted;
        return { changed: removed + added };
      }
      case 'counters':
        return path.counters();
      case 'stop':
        return end();
    }
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    readMessages(socket, (message) => {
      const { id, question } = message as { id: number; question: Question };
      writeMessage(socket, { id, answer: answer(question) });
    });
  });
  // By way of a descriptor of the folder: the path itself may be longer than an address of a unix socket can be.
  const socketPath = join(`/proc/self/fd/${openSync(folder, 'r')}`, socketName);
  rmSync(socketPath, { force: true });
  process.umask(0o177);
  server.listen(socketPath, () => process.stdout.write('ready\n'));
}

// The agent that reads this process's output may be gone.
process.stdout.on('error', () => undefined);
endWithLink(Number(link), true);
const dataPath = await openWhenFree();
serving.push(dataPath);
followUnderlay(dataPath);
followPods(dataPath);
serve(dataPath);
