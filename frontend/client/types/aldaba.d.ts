import { AldabaError } from './error.js';
export { AldabaError };
export type State = 'connecting' | 'open' | 'waiting' | 'closed';
export type EventName = 'state' | 'message' | 'joined' | 'left' | 'resync' | 'read' | 'error';
export type StateInfo = {
    /**
     * when waiting: the time of the next attempt, in milliseconds like Date.now()
     */
    retryAt?: number;
    /**
     * when waiting or closed: the WebSocket close code
     */
    code?: number;
    /**
     * when waiting or closed: why, in words
     */
    reason?: string;
};
export type Message = {
    channel: string;
    /**
     * the published JSON document, parsed
     */
    data: any;
    /**
     * of channels with history; opaque
     */
    position?: string;
};
export type Page = {
    /**
     * the oldest first
     */
    messages: Message[];
    /**
     * whether there is more in that direction
     */
    more: boolean;
};
export type Options = {
    /**
     * of the hub's WebSocket; may be relative to the page. Default: `/ws`
     */
    url?: string | URL;
    /**
     * gives a JWT. Asked before every connect and whenever the
     * token is about to expire, so it must not hand out an old one. When it throws, the client tries again later, unless
     * the error has `fatal: true`. Without getToken the hub is expected to read a cookie.
     */
    getToken?: () => string | Promise<string>;
    /**
     * keeps how far each channel was heard, so that a
     * reload misses nothing that the hub still has: a name in sessionStorage, or a store of one's own
     */
    store?: string | Pick<Storage, 'getItem' | 'setItem'>;
    /**
     * whether server-sent events may stand in for a WebSocket that does not get through: they
     * only receive. Default: true
     */
    sse?: boolean;
    /**
     * whether the tabs of a browser share one connection: those of the same user, url
     * and name. Default: false
     */
    share?: boolean | string;
    /**
     * for runtimes that have no global one
     */
    WebSocket?: new (url: string, protocols: string[]) => any;
};
export type Unread = {
    count: number;
    /**
     * up to where the user has read, as far as it is known here
     */
    read?: string;
};
export type Subscription = {
    promise: Promise<void>;
    resolve: () => void;
    reject: (reason: Error) => void;
    /**
     * whether the hub has ever said `joined`
     */
    held: boolean;
};
/**
 * Connects to a hub, and stays connected. Throws a TypeError when the URL is unusable or there is no way to connect.
 * @param {Options} [options]
 * @returns {Client}
 */
export declare function connect(options?: Options): Client;
/** One connection to a hub, kept up through reconnects. Made by `connect`. */
export declare class Client {
    #private;
    /**
     * @param {Options} options
     * @param {any} [inner] for the connection that tabs share, and nobody else
     */
    constructor({ url, getToken, store, sse, share, WebSocket }: Options, inner?: any);
    /** The present state. */
    get state(): State;
    /** The user the hub took the token for; null before the first welcome. @returns {string | null} */
    get user(): string | null;
    /** The id of the latest session; null before the first welcome. @returns {string | null} */
    get session(): string | null;
    /** The channels that are joined now. @returns {string[]} */
    get channels(): string[];
    /**
     * Calls fn for each message of a channel, joined or not yet. It does not subscribe: channels that the token's claims
     * yield are joined by the hub, others need `subscribe`.
     * @param {string} channel not empty; anything else is a TypeError, here and below
     * @param {(data: any, message: Message) => void} fn
     * @returns {() => void} takes the handler off
     */
    on(channel: string, fn: (data: any, message: Message) => void): () => void;
    /**
     * Calls fn for each message of every channel.
     * @param {(message: Message) => void} fn
     * @returns {() => void} takes the listener off, as with all that follow
     */
    onMessage(fn: (message: Message) => void): () => void;
    /**
     * Calls fn with the present state, now, and with each that follows.
     * @param {(state: State, info: StateInfo) => void} fn
     */
    onState(fn: (state: State, info: StateInfo) => void): () => void;
    /**
     * Calls fn when messages of a joined channel have been missed or may have been: the hub said so, or the client was
     * away and cannot be told what it missed. A page that shows state fetches it anew.
     *
     * With a channel, fn fetches the state of that channel. While it runs, messages of the channel are held back; they are
     * delivered afterwards, in order, and may be part of what was fetched. When it fails it is called again, later.
     * @overload
     * @param {(channel: string) => void} channel
     * @returns {() => void}
     *
     * @overload
     * @param {string} channel
     * @param {(channel: string) => unknown} fn
     * @returns {() => void}
     *
     * @param {any} channel
     * @param {any} [fn]
     */
    onResync(channel: (channel: string) => void): () => void;
    /**
     * Calls fn when messages of a joined channel have been missed or may have been: the hub said so, or the client was
     * away and cannot be told what it missed. A page that shows state fetches it anew.
     *
     * With a channel, fn fetches the state of that channel. While it runs, messages of the channel are held back; they are
     * delivered afterwards, in order, and may be part of what was fetched. When it fails it is called again, later.
     * @overload
     * @param {(channel: string) => void} channel
     * @returns {() => void}
     *
     * @overload
     * @param {string} channel
     * @param {(channel: string) => unknown} fn
     * @returns {() => void}
     *
     * @param {any} channel
     * @param {any} [fn]
     */
    onResync(channel: string, fn: (channel: string) => unknown): () => void;
    /**
     * Calls fn when a channel is joined, after each connect anew.
     * @param {(channel: string) => void} fn
     */
    onJoined(fn: (channel: string) => void): () => void;
    /**
     * Calls fn when a channel is no longer received although the connection stands: `unsubscribed`, `revoked`, or the
     * code with which the hub refused it after a reconnect.
     * @param {(channel: string, reason: string) => void} fn
     */
    onLeft(fn: (channel: string, reason: string) => void): () => void;
    /**
     * Calls fn when the number of a channel's unread messages changes: one arrives, or the user reads here or elsewhere.
     * @param {(channel: string, unread: number) => void} fn
     */
    onRead(fn: (channel: string, unread: number) => void): () => void;
    /**
     * Calls fn with what went wrong and rejects no promise: a handler that threw, a getToken that failed, an `error` frame
     * that answers no command. Without a listener these go to the console.
     * @param {(error: any) => void} fn
     */
    onError(fn: (error: any) => void): () => void;
    /**
     * Asks for a channel, now or once connected, and again after each reconnect. Resolves when the hub has joined it;
     * rejects with an AldabaError, and is forgotten, when the hub refuses. Asking too fast is no refusal: the client paces
     * itself, and asks again when it is told to wait.
     * @param {string} channel
     * @returns {Promise<void>}
     */
    subscribe(channel: string): Promise<void>;
    /**
     * Leaves a channel and asks for it no more. A channel that the claims yield comes back with the next connect.
     * @param {string} channel
     * @returns {Promise<void>}
     */
    unsubscribe(channel: string): Promise<void>;
    /**
     * Publishes a JSON document. Resolves when the broker has it. Rejects at once with the code `offline` when the client
     * is not open, with `receive_only` over server-sent events, with `rate_limited` and `retryAfter` when there were too many frames in a second, and with
     * `connection_lost` or `timeout` when nobody knows whether it was published.
     * @param {string} channel
     * @param {any} data
     * @returns {Promise<void>}
     */
    publish(channel: string, data: any): Promise<void>;
    /**
     * How many messages of a joined channel the user has not read; undefined for one without history.
     * @param {string} channel
     * @returns {number | undefined}
     */
    unread(channel: string): number | undefined;
    /**
     * Marks a channel as read, for all devices of the user, and resolves with what is unread then. Rejects as `publish`
     * does, with `no_history`, and with `gone` when so many messages came since that the position is not kept any more.
     * @param {string} channel
     * @param {string} [position] up to where; by default up to the newest message that was heard
     * @returns {Promise<number>}
     */
    ack(channel: string, position?: string): Promise<number>;
    /**
     * Asks for messages that the hub has kept, without an effect on what is heard. Without `before` or `after`: the newest.
     * Rejects as `publish` does, with `no_history` where none are kept, and with `gone` when a position is too old.
     * @param {string} channel
     * @param {{before?: string, after?: string, limit?: number}} [range] positions of messages; at most so many
     * @returns {Promise<Page>}
     */
    history(channel: string, { before, after, limit }?: {
        before?: string;
        after?: string;
        limit?: number;
    }): Promise<Page>;
    /** Connects at once when waiting or closed; a new start for the back-off. No effect otherwise. */
    reconnect(): void;
    /** Closes for good. Whatever was not answered rejects with the code `closed`. */
    close(): void;
}
