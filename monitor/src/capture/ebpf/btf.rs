//! Where the running kernel keeps its members: a reader of BTF (Documentation/bpf/btf.rst).
//!
//! aya's own parser keeps every type as an owned value, tens of megabytes for a kernel; member offsets need
//! only a walk over the file's bytes.

/// Why a BTF blob could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The magic number is another one.
    #[error("not BTF of this machine's byte order (magic {0:#06x})")]
    Magic(u16),
    /// The blob ends inside of something.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// A kind newer than this reader: what follows it cannot be found.
    #[error("unknown kind {kind} of type {id}")]
    Kind {
        /// The kind.
        kind: u32,
        /// The id of the type.
        id: usize,
    },
}

const MAGIC: u16 = 0xeb9f;
/// Anonymous members nest a few levels; a cycle would be a broken blob.
const DEPTH: usize = 32;

// include/uapi/linux/btf.h
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    kind_flag: bool,
    vlen: usize,
    name: u32,
    /// Size, or the type referred to.
    size_or_type: u32,
    /// Byte position of what follows the fixed part.
    body: usize,
}

/// The types of a kernel, read in place.
pub struct Btf<'a> {
    data: &'a [u8],
    strings: &'a [u8],
    /// Byte position of each type; 0 is `void`, which has none.
    positions: Vec<u32>,
    /// The structs that have a name, by id: few are asked for, so that an index of names would cost more than it saves.
    structs: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Reads a blob such as /sys/kernel/btf/vmlinux.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let magic = u16_at(data, 0)?;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let header = word(data, 4)? as usize;
        let types = header + word(data, 8)? as usize;
        let types_end = types + word(data, 12)? as usize;
        let strings = header + word(data, 16)? as usize;
        let strings_end = strings + word(data, 20)? as usize;
        let strings = data.get(strings..strings_end).ok_or(BtfError::Truncated(data.len()))?;
        let mut btf = Self { data, strings, positions: vec![0], structs: Vec::new() };
        let mut position = types;
        while position < types_end {
            let id = btf.positions.len();
            let ty = btf.type_at(position)?;
            btf.positions.push(position as u32);
            // The string at 0 is the empty one.
            if ty.kind == STRUCT && ty.name != 0 {
                btf.structs.push(id as u32);
            }
            position = ty.body + body_len(ty.kind, ty.vlen).ok_or(BtfError::Kind { kind: ty.kind, id })?;
        }
        Ok(btf)
    }

    /// The byte offset of `struct.member.member`, looking through anonymous structs and unions; `None` when
    /// this kernel has no such struct or member, or it is a bit field.
    pub fn offset(&self, path: &str) -> Option<u32> {
        let (name, members) = path.split_once('.')?;
        let members: Vec<&[u8]> = members.split('.').map(str::as_bytes).collect();
        // One name may have several types (one a translation unit): the first that has the member.
        self.structs(name).find_map(|(id, _)| self.find(id, &members, 0))
    }

    /// The size of a struct in bytes.
    pub fn size(&self, name: &str) -> Option<u32> {
        self.structs(name).next().map(|(_, ty)| ty.size_or_type)
    }

    /// The names of a function's parameters in their order; `None` when this kernel has no such function.
    pub fn parameters(&self, function: &str) -> Option<Vec<&'a [u8]>> {
        let (_, ty) = self.types().find(|(_, ty)| ty.kind == FUNC && self.is(ty.name, function))?;
        let proto = self.get(ty.size_or_type).filter(|ty| ty.kind == FUNC_PROTO)?;
        (0..proto.vlen).map(|i| self.string(word(self.data, proto.body + i * 8).ok()?)).collect()
    }

    /// The value of an enumerator of `enum name`.
    pub fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        self.types()
            .filter(|(_, ty)| ty.kind == ENUM && self.is(ty.name, name))
            .flat_map(|(_, ty)| (0..ty.vlen).map(move |i| ty.body + i * 8))
            .find(|entry| word(self.data, *entry).is_ok_and(|name| self.is(name, enumerator)))
            .and_then(|entry| word(self.data, entry + 4).ok())
    }

    /// A blob of the same type ids in which only these functions are left: enough to attach to them, for a
    /// loader that would otherwise keep every type of the kernel. It ends at the last of them.
    pub fn functions(&self, names: &[&str]) -> Vec<u8> {
        const FIXED: usize = 12;
        let named = |ty: &Type| names.iter().find(|name| self.is(ty.name, name));
        let found: Vec<(u32, &str)> = self
            .types()
            .filter(|(_, ty)| ty.kind == FUNC)
            .filter_map(|(id, ty)| named(&ty).map(|name| (id, *name)))
            .collect();
        let mut strings = vec![0];
        let mut types = Vec::with_capacity(found.last().map_or(0, |(last, _)| *last as usize * FIXED));
        let mut id = 1;
        for (function, name) in found {
            while id < function {
                types.extend([0, FWD << 24, 0].into_iter().flat_map(u32::to_ne_bytes));
                id += 1;
            }
            types.extend([strings.len() as u32, FUNC << 24, 0].into_iter().flat_map(u32::to_ne_bytes));
            id += 1;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        }
        blob(&types, &strings)
    }

    /// All types but `void`, with their ids.
    fn types(&self) -> impl Iterator<Item = (u32, Type)> {
        let positions = (0..).zip(&self.positions).skip(1);
        positions.filter_map(|(id, position)| Some((id, self.type_at(*position as usize).ok()?)))
    }

    /// The structs of a name, with their ids.
    fn structs(&self, name: &str) -> impl Iterator<Item = (u32, Type)> {
        self.structs
            .iter()
            .filter_map(|id| Some((*id, self.get(*id)?)))
            .filter(move |(_, ty)| self.is(ty.name, name))
    }

    fn find(&self, id: u32, path: &[&[u8]], depth: usize) -> Option<u32> {
        let Some((wanted, rest)) = path.split_first() else { return Some(0) };
        let ty = self.resolve(id)?;
        if !matches!(ty.kind, STRUCT | UNION) || depth > DEPTH {
            return None;
        }
        (0..ty.vlen).find_map(|i| {
            let member = ty.body + i * 12;
            let name = self.string(word(self.data, member).ok()?)?;
            let member_type = word(self.data, member + 4).ok()?;
            let offset = word(self.data, member + 8).ok()?;
            // With the kind flag the upper 8 bits are a bit-field size.
            let (bits, bit_field) =
                if ty.kind_flag { (offset & 0x00ff_ffff, offset >> 24 != 0) } else { (offset, false) };
            let inner = if name == *wanted && !bit_field {
                self.find(member_type, rest, depth + 1)
            } else if name.is_empty() {
                self.find(member_type, path, depth + 1)
            } else {
                None
            }?;
            (bits % 8 == 0).then(|| bits / 8 + inner)
        })
    }

    /// Looks through modifiers and typedefs.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let ty = self.get(id)?;
            if !matches!(ty.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                return Some(ty);
            }
            id = ty.size_or_type;
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type> {
        let position = *self.positions.get(id as usize).filter(|_| id != 0)?;
        self.type_at(position as usize).ok()
    }

    fn type_at(&self, position: usize) -> Result<Type, BtfError> {
        let info = word(self.data, position + 4)?;
        Ok(Type {
            kind: info >> 24 & 0x1f,
            kind_flag: info >> 31 == 1,
            vlen: (info & 0xffff) as usize,
            name: word(self.data, position)?,
            size_or_type: word(self.data, position + 8)?,
            body: position + 12,
        })
    }

    /// Whether the string at an offset is this one; most are told apart by their first byte.
    fn is(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings.get(offset as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.and_then(|rest| rest.first()) == Some(&0)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

/// Puts a blob together: header, types, strings.
fn blob(types: &[u8], strings: &[u8]) -> Vec<u8> {
    const HEADER: u32 = 24;
    const VERSION: [u8; 2] = [1, 0];
    let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
    let header = [HEADER, 0, types_len, types_len, strings_len];
    let mut out = Vec::with_capacity(HEADER as usize + types.len() + strings.len());
    out.extend_from_slice(&MAGIC.to_ne_bytes());
    out.extend_from_slice(&VERSION);
    out.extend(header.into_iter().flat_map(u32::to_ne_bytes));
    out.extend_from_slice(types);
    out.extend_from_slice(strings);
    out
}

/// How many bytes follow the fixed part of a type.
fn body_len(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => 12 * vlen,
        ENUM | FUNC_PROTO => 8 * vlen,
        0..=ENUM64 => 0,
        _ => return None,
    })
}

fn word(data: &[u8], position: usize) -> Result<u32, BtfError> {
    let bytes = data.get(position..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(BtfError::Truncated(position))
}

fn u16_at(data: &[u8], position: usize) -> Result<u16, BtfError> {
    let bytes = data.get(position..).and_then(|rest| rest.first_chunk::<2>());
    bytes.map(|bytes| u16::from_ne_bytes(*bytes)).ok_or(BtfError::Truncated(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes BTF as the kernel's build does.
    #[derive(Default)]
    struct Writer {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Writer {
        fn string(&mut self, s: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if s.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend_from_slice(s.as_bytes());
            self.strings.push(0);
            at
        }

        fn ty(&mut self, name: &str, kind: u32, flag: bool, size: u32, body: &[u32], vlen: u32) {
            let name = self.string(name);
            for word in [name, kind << 24 | u32::from(flag) << 31 | vlen, size].iter().chain(body) {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }

        fn members(&mut self, name: &str, kind: u32, flag: bool, size: u32, members: &[(&str, u32, u32)]) {
            let body: Vec<u32> =
                members.iter().flat_map(|(name, ty, bits)| [self.string(name), *ty, *bits]).collect();
            self.ty(name, kind, flag, size, &body, members.len() as u32);
        }

        fn finish(mut self) -> Vec<u8> {
            self.string("");
            blob(&self.types, &self.strings)
        }
    }

    fn sample() -> Vec<u8> {
        let mut w = Writer::default();
        w.ty("int", INT, false, 4, &[32], 0); // 1
        w.members("", STRUCT, false, 8, &[("deep", 1, 0), ("deeper", 1, 32)]); // 2
        w.members("", UNION, false, 8, &[("", 2, 0), ("plain", 1, 0)]); // 3
        w.ty("alias", TYPEDEF, false, 2, &[], 0); // 4
        w.members("outer", STRUCT, false, 24, &[("first", 1, 0), ("", 3, 64), ("named", 4, 128)]); // 5
        w.members("flagged", STRUCT, true, 8, &[("bits", 1, 3 << 24), ("whole", 1, 32)]); // 6
        w.members("twice", STRUCT, false, 4, &[("other", 1, 0)]); // 7
        w.members("twice", STRUCT, false, 8, &[("wanted", 1, 32)]); // 8
        let names = [w.string("zero"), 0, w.string("seven"), 7];
        w.ty("numbers", ENUM, false, 4, &names, 2); // 9
        w.finish()
    }

    #[test]
    fn finds_members() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        for (name, path, want) in [
            ("first member", "outer.first", Some(0)),
            ("through an anonymous union", "outer.plain", Some(8)),
            ("through an anonymous struct in it", "outer.deeper", Some(12)),
            ("through a typedef", "outer.named.deeper", Some(20)),
            ("kind flag, whole member", "flagged.whole", Some(4)),
            ("a bit field has no byte offset", "flagged.bits", None),
            ("the type that has it, of two with one name", "twice.wanted", Some(4)),
            ("no such member", "outer.absent", None),
            ("no such struct", "absent.first", None),
            ("no member asked for", "outer", None),
        ] {
            assert_eq!(btf.offset(path), want, "{name}");
        }
        assert_eq!(btf.size("outer"), Some(24));
        assert_eq!(btf.enumerator("numbers", "seven"), Some(7));
        assert_eq!((btf.enumerator("numbers", "eight"), btf.enumerator("outer", "seven")), (None, None));
    }

    #[test]
    fn keeps_the_ids_of_functions() {
        let mut w = Writer::default();
        w.ty("int", INT, false, 4, &[32], 0); // 1
        w.ty("", FUNC_PROTO, false, 0, &[0, 1], 1); // 2
        w.ty("other", FUNC, false, 2, &[], 0); // 3
        w.ty("wanted", FUNC, false, 2, &[], 0); // 4
        w.ty("wanted", TYPEDEF, false, 1, &[], 0); // 5
        let data = w.finish();
        let skeleton = Btf::parse(&data).unwrap().functions(&["wanted"]);
        let skeleton = aya::Btf::parse(&skeleton, aya::Endianness::default()).unwrap();
        let id = |name| skeleton.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func).ok();
        assert_eq!((id("wanted"), id("other")), (Some(4), None));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let good = sample();
        let mut other_order = good.clone();
        other_order.swap(0, 1);
        assert!(matches!(Btf::parse(&other_order), Err(BtfError::Magic(0x9feb))));
        for cut in 0..good.len() {
            assert!(Btf::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut w = Writer::default();
        w.ty("new", 25, false, 0, &[], 0);
        let data = w.finish();
        assert!(matches!(Btf::parse(&data), Err(BtfError::Kind { kind: 25, id: 1 })));
    }

    #[test]
    fn a_cycle_ends() {
        let mut w = Writer::default();
        w.ty("a", TYPEDEF, false, 2, &[], 0);
        w.ty("b", TYPEDEF, false, 1, &[], 0);
        w.members("s", STRUCT, false, 4, &[("", 3, 0), ("x", 1, 0)]);
        let data = w.finish();
        assert_eq!(Btf::parse(&data).unwrap().offset("s.x.y"), None);
    }
}
