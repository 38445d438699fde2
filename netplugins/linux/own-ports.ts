/** Netlink ports of the sockets and commands that changed the kernel for us lately: so echoes are told from others' work. */
const remembered = 64;

export class OwnPorts {
  readonly #ports = new Set<number>();

  has(port: number): boolean {
    return this.#ports.has(port);
  }

  add(port: number): void {
    // One that is used again counts as new.
    this.#ports.delete(port);
    this.#ports.add(port);
    for (const oldest of this.#ports) {
      if (this.#ports.size <= remembered) break;
      this.#ports.delete(oldest);
    }
  }
}
