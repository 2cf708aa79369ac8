//! The records that cross from the kernel to user space.
#![no_std]
