//! What the programs share with each other and with user space.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use observer_ebpf::{CommandHead, EVENTS, Event, Fields, HOOKS, Hook, SOCKET_HEAD, Seat, Settings, Socket};

use crate::kernel::Struct;
use crate::packets::{FLOWS, Slots};

/// Where the kernel's fields lie. User space sets it before it loads the programs, so that the verifier sees constants.
#[unsafe(no_mangle)]
static FIELDS: Fields = Fields::NONE;

/// What this run wants, likewise.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::NONE;

/// Records on their way to user space.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// What processes were started with, on its way to user space.
#[map]
static COMMANDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Sockets that came while the programs were at work, each in the seat that is its own. User space maps them into its
/// memory.
#[map]
static SEATS: Array<Seat> = Array::with_max_entries(1 << 13, BPF_F_MMAPABLE);

/// How many hold each seat or try to: who finds itself alone has it. Side by side, so that user space sees at a glance which
/// are taken.
#[map]
static CLAIMS: Array<u64> = Array::with_max_entries(1 << 13, BPF_F_MMAPABLE);

/// Every other socket that lives, by the kernel's address of it.
#[map]
static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(1 << 18, BPF_F_NO_PREALLOC);

/// Records that could not be sent or kept, by hook: one entry, so that one look shows all.
#[map]
static LOST: PerCpuArray<[u64; HOOKS.len()]> = PerCpuArray::with_max_entries(1, 0);

/// Of a tracepoint that has two programs, what the first has taken in last: a socket's address, and its state.
#[map]
static TAKEN: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// What the second took in since the kernel had left the first out, by hook.
#[map]
static MADE_UP: PerCpuArray<[u64; HOOKS.len()]> = PerCpuArray::with_max_entries(1, 0);

/// Octets of payload that the packet filter has passed on, by direction.
#[map]
static PASSED: Array<Slots> = Array::with_max_entries(FLOWS, 0);

/// The ports to observe, a bit each, where the run does not want all.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(1 << 10, 0);

/// One of [`FIELDS`].
macro_rules! field {
    ($name:ident) => {
        // SAFETY: a static that user space set before the program was loaded; volatile, so that it is read and not
        // taken for what it was compiled as.
        unsafe { core::ptr::read_volatile(&raw const (*crate::maps::fields()).$name) }
    };
}
pub(crate) use field;

/// One of [`SETTINGS`].
macro_rules! setting {
    ($name:ident) => {
        // SAFETY: as for FIELDS.
        unsafe { core::ptr::read_volatile(&raw const (*crate::maps::settings()).$name) }
    };
}
pub(crate) use setting;

#[inline(always)]
pub fn fields() -> *const Fields {
    &raw const FIELDS
}

#[inline(always)]
pub fn settings() -> *const Settings {
    &raw const SETTINGS
}

#[inline(always)]
pub fn records() -> &'static RingBuf {
    &RECORDS
}

#[inline(always)]
pub fn commands() -> &'static RingBuf {
    &COMMANDS
}

#[inline(always)]
pub fn seats() -> &'static Array<Seat> {
    &SEATS
}

#[inline(always)]
pub fn claims() -> &'static Array<u64> {
    &CLAIMS
}

#[inline(always)]
pub fn sockets() -> &'static HashMap<u64, Socket> {
    &SOCKETS
}

#[inline(always)]
pub fn passed() -> &'static Array<Slots> {
    &PASSED
}

/// Whether a connection between these ports is one that this run wants.
#[inline(always)]
pub fn wants_ports(one: u16, other: u16) -> bool {
    let is_listed = |port: u16| PORTS.get(u32::from(port >> 6)).is_some_and(|ports| ports >> (port & 63) & 1 != 0);
    setting!(by_port) == 0 || is_listed(one) || is_listed(other)
}

/// Sends a record; counts it as `hook`'s loss where there is no room.
#[inline(always)]
pub fn send<T>(record: &T, hook: Hook) {
    if RECORDS.output::<T>(record, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        lose(hook);
    }
}

/// Sends what is known of a process that is the copy of another.
#[inline(always)]
pub fn send_command(head: &CommandHead) {
    if COMMANDS.output::<CommandHead>(head, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        lose(Hook::Exec);
    }
}

/// Sends a socket, as far as its log is filled.
#[inline(always)]
pub fn send_socket(socket: &Socket, hook: Hook) {
    // SAFETY: a socket's own field. Volatile, so that the bound below is not taken for granted and left out.
    let filled = unsafe { core::ptr::read_volatile(&raw const socket.filled) };
    if filled > EVENTS as u32 {
        return;
    }
    let size = SOCKET_HEAD as u64 + u64::from(filled) * size_of::<Event>() as u64;
    // SAFETY: the helper checks what it is given.
    let result = unsafe {
        let ring = core::ptr::from_ref::<RingBuf>(&RECORDS).cast_mut().cast();
        let data = core::ptr::from_ref(socket).cast_mut().cast();
        bpf_ringbuf_output(ring, data, size, u64::from(BPF_RB_NO_WAKEUP))
    };
    if result != 0 {
        lose(hook);
    }
}

/// Counts a record that was lost.
#[inline(always)]
pub fn lose(hook: Hook) {
    count(&LOST, hook);
}

#[inline(always)]
fn count(counts: &PerCpuArray<[u64; HOOKS.len()]>, hook: Hook) {
    if let Some(counts) = counts.get_ptr_mut(0) {
        // SAFETY: a map's value, on this processor; an interrupt in between may cost one count.
        unsafe { (*counts)[hook as usize] += 1 };
    }
}

/// The kernel leaves a program out that is at work already on the same processor: where an interrupt came in between, or,
/// since Linux 7.0, another task. So what must not be missed has a second program, which takes in what the first did not.
/// Of the two, this one is the first's: it has taken in that `sk` came to `state`.
#[inline(always)]
pub fn set_taken(sk: Struct, state: u8) {
    if setting!(has_second) != 0
        && let Some(taken) = TAKEN.get_ptr_mut(0)
    {
        // SAFETY: a map's value, on this processor.
        unsafe { *taken = [sk.address(), u64::from(state)] };
    }
}

/// Whether the first program has just taken in that `sk` came to `state`. Where an interrupt came between the two, that is
/// not known.
#[inline(always)]
pub fn is_taken(sk: Struct, state: u8) -> bool {
    // SAFETY: as above.
    TAKEN.get(0).is_some_and(|[address, last]| *address == sk.address() && *last == u64::from(state))
}

/// Counts what a second program took in.
#[inline(always)]
pub fn make_up(hook: Hook) {
    count(&MADE_UP, hook);
}

/// Records that `hook` has lost on this processor.
#[inline(always)]
pub fn lost(hook: Hook) -> u64 {
    // SAFETY: as above.
    LOST.get_ptr(0).map_or(0, |lost| unsafe { (*lost)[hook as usize] })
}
