//! Tensors: reading one that a Python object holds, and making one that Python gets.

use core::ffi::{CStr, c_void};
use std::{os::raw::c_int, ptr};

use pyo3::{ffi, intern, prelude::*, types::PyTuple};
use rusttorch_core::{
    dtype::DType,
    layout::{Layout, MAX_DIMS},
};

use crate::{autocast::Autocast, decline::Decline, symbol::Library};

/// How native code reaches a tensor, fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// libtorch's C functions read tensors, where a Python object is known to hold them (torch >= 2.4).
    Stable = 1,
    /// Tensors are read through the `DLPack` exchange table (torch >= 2.10).
    DlPack = 2,
    /// Tensors are read and made by Python calls (torch >= 2.0).
    Python = 3,
}

type Aten = *mut c_void;

/// Fills its last argument and returns 0, or returns another number.
type Get<T> = unsafe extern "C" fn(Aten, *mut T) -> i32;
/// Takes a reference to a tensor, which is what a handle is.
type Ask<R> = unsafe extern "C" fn(Aten) -> R;

/// torch's C functions that make tensors, from `torch/csrc/inductor/aoti_torch/c/shim.h` (torch >= 2.2) and
/// `torch/csrc/stable/c/shim.h`.
#[derive(Clone, Copy)]
struct Maker {
    empty_strided: unsafe extern "C" fn(i64, *const i64, *const i64, i32, i32, i32, *mut Aten) -> i32,
    data: Get<*mut u8>,
    delete: Ask<i32>,
    wrap: Wrap,
    /// The numbers of the CPU, and of the types in the order of [`DType::ALL`].
    cpu: i32,
    dtypes: [i32; DType::ALL.len()],
}

/// How a handle becomes a Python object.
#[derive(Clone, Copy)]
enum Wrap {
    /// `torch_tensor_to_pyobject`, torch >= 2.14.
    Stable(unsafe extern "C" fn(Aten, *mut c_void, *mut *mut c_void) -> i32),
    /// `THPVariable_Wrap(const at::TensorBase&)`, before; once it took the tensor itself, which C++ passes by its address
    /// as well, and left none there.
    Internal(Ask<*mut c_void>),
}

impl Wrap {
    /// The handle's tensor as a Python object.
    fn object(self, py: Python<'_>, handle: Handle) -> Result<Py<PyAny>, Decline> {
        let mut object = ptr::null_mut();
        // SAFETY: the handle is alive; the result is a new reference, or null with an exception set.
        unsafe {
            match self {
                Self::Stable(to_pyobject) => {
                    if to_pyobject(handle.aten, ptr::null_mut(), &raw mut object) != 0 {
                        object = ptr::null_mut();
                    }
                }
                Self::Internal(wrap) => object = wrap(handle.aten),
            }
            if object.is_null() {
                drop(PyErr::take(py));
                return Err(Decline::Failed);
            }
            Ok(Bound::from_owned_ptr(py, object.cast()).unbind())
        }
    }
}

impl Maker {
    fn open(cpu: Library) -> Option<Self> {
        type Number = unsafe extern "C" fn() -> i32;
        // SAFETY: the types are those of torch's headers.
        unsafe {
            let number = |name: &CStr| cpu.function::<Number>(name).map(|number| number());
            let stable = cpu.function(c"torch_tensor_to_pyobject").map(Wrap::Stable);
            let internal = || {
                let python = Library::with_prefix("libtorch_python.so")?;
                let names = [
                    c"_Z16THPVariable_WrapRKN2at10TensorBaseE",
                    c"_Z16THPVariable_WrapN2at10TensorBaseE",
                ];
                names
                    .into_iter()
                    .find_map(|name| python.function(name))
                    .map(Wrap::Internal)
            };
            Some(Self {
                empty_strided: cpu.function(c"aoti_torch_empty_strided")?,
                data: cpu
                    .function(c"torch_get_mutable_data_ptr")
                    .or_else(|| cpu.function(c"aoti_torch_get_data_ptr"))?,
                delete: cpu.function(c"aoti_torch_delete_tensor_object")?,
                wrap: stable.or_else(internal)?,
                cpu: number(c"aoti_torch_device_type_cpu")?,
                dtypes: [
                    number(c"aoti_torch_dtype_float32")?,
                    number(c"aoti_torch_dtype_float64")?,
                    number(c"aoti_torch_dtype_bfloat16")?,
                    number(c"aoti_torch_dtype_float16")?,
                    number(c"aoti_torch_dtype_int64")?,
                    number(c"aoti_torch_dtype_int32")?,
                    number(c"aoti_torch_dtype_int16")?,
                    number(c"aoti_torch_dtype_int8")?,
                    number(c"aoti_torch_dtype_uint8")?,
                    number(c"aoti_torch_dtype_bool")?,
                ],
            })
        }
    }
}

/// torch's C functions that read tensors, and its C++ functions that spare a Python call each.
struct Reader {
    dtype: Get<i32>,
    device: Get<i32>,
    /// With the number of the strided one.
    layout: Option<(Get<i32>, i32)>,
    dim: Get<i64>,
    numel: Get<i64>,
    sizes: Get<*const i64>,
    strides: Get<*const i64>,
    const_data: Get<*mut u8>,
    mutable_data: Get<*mut u8>,
    cpu: i32,
    dtypes: [i32; DType::ALL.len()],
    is_neg: Option<Ask<bool>>,
    is_inference: Option<Ask<bool>>,
    bump_version: Option<Ask<()>>,
    /// Take what a handle points to: a tensor is a pointer to its implementation.
    requires_grad: Option<Ask<bool>>,
    has_names: Option<Ask<bool>>,
    autocast: Option<Autocast>,
}

impl Reader {
    fn open(cpu: Library, maker: &Maker) -> Option<Self> {
        type Number = unsafe extern "C" fn() -> i32;
        // SAFETY: as above; the C++ functions cannot throw for a plain CPU tensor.
        unsafe {
            let c10 = Library::with_prefix("libc10.so");
            let number = |name: &CStr| cpu.function::<Number>(name).map(|number| number());
            Some(Self {
                dtype: cpu.function(c"aoti_torch_get_dtype")?,
                device: cpu.function(c"aoti_torch_get_device_type")?,
                layout: cpu
                    .function(c"aoti_torch_get_layout")
                    .zip(number(c"aoti_torch_layout_strided")),
                dim: cpu.function(c"aoti_torch_get_dim")?,
                numel: cpu.function(c"aoti_torch_get_numel")?,
                sizes: cpu.function(c"aoti_torch_get_sizes")?,
                strides: cpu.function(c"aoti_torch_get_strides")?,
                const_data: cpu.function(c"torch_get_const_data_ptr").unwrap_or(maker.data),
                mutable_data: maker.data,
                cpu: maker.cpu,
                dtypes: maker.dtypes,
                is_neg: cpu.function(c"_ZN2at4_ops6is_neg4callERKNS_6TensorE"),
                is_inference: cpu.function(c"_ZN2at4_ops12is_inference4callERKNS_6TensorE"),
                bump_version: cpu.function(c"_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE"),
                requires_grad: c10.and_then(|c10| c10.function(c"_ZNK3c1010TensorImpl13requires_gradEv")),
                has_names: cpu.function(c"_ZN2at4impl9has_namesEPKN3c1010TensorImplE"),
                autocast: Autocast::open(cpu),
            })
        }
    }
}

impl Reader {
    /// Where a Python tensor holds its C++ tensor, a pointer, whose address is as good as a handle and costs nothing:
    /// the offset at which tensors and parameters have the address that they tell as `_cdata`.
    fn learn_place(torch: &Bound<'_, PyModule>) -> PyResult<Option<usize>> {
        let parameter = torch.getattr("nn")?.getattr("Parameter")?;
        let empty = |size: usize| torch.getattr("empty")?.call1((size,));
        let probes = [
            empty(1)?,
            empty(2)?,
            parameter.call1((empty(3)?,))?,
            parameter.call1((empty(4)?,))?,
        ];
        let mut places: Vec<usize> = (size_of::<ffi::PyObject>()..=40).step_by(8).collect();
        for probe in &probes {
            let Ok(address) = probe.getattr("_cdata").and_then(|told| told.extract::<usize>()) else {
                return Ok(None);
            };
            // SAFETY: a tensor's object is larger than what is read here.
            places.retain(|&place| unsafe { *probe.as_ptr().byte_add(place).cast::<usize>() } == address);
        }
        Ok(places.first().copied())
    }
}

/// Where a tensor's implementation keeps its number of elements, in a byte, torch's number of its type, and in a bit each,
/// whether it is dense and whether it is row-major.
#[derive(Clone, Copy)]
struct Places {
    place: usize,
    numel: usize,
    dtype: usize,
    dtypes: [u8; DType::ALL.len()],
    /// The byte and its bit; none where it was not found, as below.
    dense: (usize, u8),
    contiguous: (usize, u8),
    /// Where the count of dimensions is, followed by the sizes if there are few; none where it was not found.
    sizes: Option<usize>,
    requires_grad: Ask<bool>,
}

/// Dimensions up to which torch keeps sizes in the implementation itself, `C10_SIZES_AND_STRIDES_MAX_INLINE_SIZE`.
const FEW_DIMS: usize = 5;

impl Places {
    /// Bytes of an implementation that are looked at: none is smaller, in any version of torch.
    const SIZE: usize = 176;

    /// Tensors that are row-major, dense in other orders and not dense, with their sizes and strides.
    const LAYOUTS: [([bool; 2], &'static [i64], &'static [i64]); 15] = [
        ([true, true], &[5], &[1]),
        ([false, false], &[5], &[2]),
        ([true, true], &[4, 6], &[6, 1]),
        ([false, false], &[4, 6], &[12, 2]),
        ([true, false], &[4, 6], &[1, 4]),
        ([false, false], &[4, 6], &[0, 1]),
        ([true, true], &[2, 3, 4, 5], &[60, 20, 5, 1]),
        ([true, false], &[2, 3, 4, 5], &[60, 1, 15, 3]),
        ([false, false], &[2, 3, 4, 5], &[61, 1, 15, 3]),
        ([true, true], &[3, 1, 2], &[2, 2, 1]),
        ([true, false], &[3, 1, 2], &[1, 7, 3]),
        ([false, false], &[3, 1, 2], &[1, 1, 1]),
        ([true, true], &[2, 2, 2, 2, 2, 2], &[32, 16, 8, 4, 2, 1]),
        ([true, false], &[2, 2, 2, 2, 2, 2], &[1, 2, 4, 8, 16, 32]),
        ([false, false], &[2, 2, 2, 2, 2, 2], &[64, 32, 16, 8, 4, 2]),
    ];

    /// The offsets, if they are the only ones, at which tensors of many shapes and types have what torch says of them.
    fn learn(torch: &Bound<'_, PyModule>, reader: &Reader, place: usize) -> PyResult<Option<Self>> {
        let shapes: [&[i64]; 5] = [&[], &[0], &[3], &[4, 3, 2], &[2, 1, 3, 1, 7, 5, 2]];
        let names = [
            "float32",
            "float64",
            "bfloat16",
            "float16",
            "int64",
            "bool",
            "uint8",
            "complex64",
        ];
        let mut numels: Vec<usize> = (0..Self::SIZE).step_by(8).collect();
        let mut dtypes: Vec<usize> = (0..Self::SIZE).collect();
        // SAFETY: the place is where a tensor has the pointer to its implementation, which is as large as that.
        let implementation = |probe: &Bound<'_, PyAny>| unsafe {
            let address = *probe.as_ptr().byte_add(place).cast::<*const [u8; Self::SIZE]>();
            &*address
        };
        for (shape, name) in shapes.into_iter().cycle().zip(names) {
            let kwargs = pyo3::types::PyDict::new(torch.py());
            kwargs.set_item("dtype", torch.getattr(name)?)?;
            let probe = torch.getattr("empty")?.call((shape,), Some(&kwargs))?;
            let (mut numel, mut dtype) = (0, 0);
            // SAFETY: the address of that pointer is as good as a handle.
            unsafe {
                let handle = probe.as_ptr().byte_add(place).cast::<c_void>();
                if (reader.numel)(handle, &raw mut numel) != 0 || (reader.dtype)(handle, &raw mut dtype) != 0 {
                    return Ok(None);
                }
            }
            let bytes = implementation(&probe);
            numels.retain(|&at| bytes[at..at + 8] == numel.to_ne_bytes());
            dtypes.retain(|&at| i32::from(bytes[at]) == dtype);
        }
        let (&[numel], &[dtype], Some(requires_grad)) = (&numels[..], &dtypes[..], reader.requires_grad) else {
            return Ok(None);
        };
        // The bits that are on in dense tensors, or row-major ones, and off in others.
        let mut bits = [[0xff; Self::SIZE]; 2];
        let mut sizes: Vec<usize> = (0..Self::SIZE).step_by(8).collect();
        for (properties, shape, strides) in Self::LAYOUTS {
            let probe = torch.getattr("empty_strided")?.call1((shape, strides))?;
            if shape.len() <= FEW_DIMS {
                let told = [&[shape.len() as i64], shape].concat();
                let told: Vec<u8> = told.into_iter().flat_map(i64::to_ne_bytes).collect();
                let is_there = |&at: &usize| implementation(&probe).get(at..at + told.len()) == Some(&told);
                sizes.retain(is_there);
            }
            for (bits, on) in bits.iter_mut().zip(properties) {
                for (bit, &byte) in bits.iter_mut().zip(implementation(&probe)) {
                    *bit &= if on { byte } else { !byte };
                }
            }
        }
        let [dense, contiguous] = bits.map(|bits| {
            let mut found = bits.into_iter().enumerate().filter(|&(_, mask)| mask != 0);
            match (found.next(), found.next()) {
                (Some((byte, mask)), None) if mask.is_power_of_two() => (byte, mask),
                _ => (0, 0),
            }
        });
        Ok(Some(Self {
            place,
            numel,
            dtype,
            dtypes: reader.dtypes.map(|dtype| dtype as u8),
            dense,
            contiguous,
            sizes: if let [at] = sizes[..] { Some(at) } else { None },
            requires_grad,
        }))
    }

    /// # Safety
    /// The object is a plain tensor that outlives the result.
    #[inline]
    unsafe fn read(&self, object: *mut ffi::PyObject) -> Outline {
        // SAFETY: learned from objects of this type, and inside of what every implementation has.
        unsafe {
            let implementation = *object.byte_add(self.place).cast::<*mut usize>();
            let dtype = *implementation.byte_add(self.dtype).cast::<u8>();
            let index = self.dtypes.iter().position(|&known| known == dtype);
            let is = |(byte, mask): (usize, u8)| mask & *implementation.byte_add(byte).cast::<u8>() == mask;
            Outline {
                dtype: index.map(|index| DType::ALL[index]),
                numel: *implementation.byte_add(self.numel),
                dense: is(self.dense),
                contiguous: is(self.contiguous),
                sizes: self.sizes,
                implementation: implementation.cast(),
                ask: self.requires_grad,
            }
        }
    }
}

/// What a plain tensor looks like at first sight.
pub struct Outline {
    /// Element type; `None` where kernels have no such.
    pub dtype: Option<DType>,
    /// Number of elements.
    pub numel: usize,
    /// Whether its elements fill a block of memory, in some order; true as well where that is not known.
    pub dense: bool,
    /// Whether they lie row-major; true as well where that is not known.
    pub contiguous: bool,
    sizes: Option<usize>,
    implementation: Aten,
    ask: Ask<bool>,
}

impl Outline {
    /// The sizes, if there are few, and where that is known. They are the tensor's, which must not be resized meanwhile.
    #[inline]
    pub fn sizes(&self) -> Option<&[i64]> {
        let at = self.sizes?;
        // SAFETY: as below; learned to be where the count of dimensions and that many sizes are.
        unsafe {
            let dims = self.implementation.byte_add(at).cast::<usize>();
            (*dims <= FEW_DIMS).then(|| std::slice::from_raw_parts(dims.add(1).cast(), *dims))
        }
    }

    /// Whether it asks for a gradient.
    #[inline]
    pub fn requires_grad(&self) -> bool {
        // SAFETY: the implementation lives as long as the tensor's object, which outlives this.
        unsafe { (self.ask)(self.implementation) }
    }
}

/// A tensor handle of libtorch's.
struct Handle {
    delete: Ask<i32>,
    aten: Aten,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is owned and not used afterwards.
        unsafe { (self.delete)(self.aten) };
    }
}

/// `DLTensor` of `DLPack` 1.
#[repr(C)]
struct DlTensor {
    data: *mut u8,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLPackExchangeAPI` of `DLPack` 1.
#[repr(C)]
struct ExchangeTable {
    version: [u32; 2],
    previous: *mut c_void,
    allocator: *mut c_void,
    from_py_object: *mut c_void,
    to_py_object: *mut c_void,
    dltensor_from_py_object: Option<unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int>,
    current_work_stream: *mut c_void,
}

type Export = unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int;

/// The way in.
enum Door {
    /// See [`Reader::learn_place`].
    Stable {
        reader: Reader,
        place: usize,
    },
    DlPack(Export),
    Python,
}

/// The doors into torch's tensors.
pub struct Doors {
    door: Door,
    places: Option<Places>,
    maker: Option<Maker>,
    tensor: Py<PyAny>,
    parameter: Py<PyAny>,
    strided: Py<PyAny>,
    /// `torch.float32` and so on, in the order of [`DType::ALL`].
    dtypes: Vec<Py<PyAny>>,
    empty_strided: Py<PyAny>,
    is_neg: Py<PyAny>,
    /// `Tensor.has_names`, where torch has named tensors.
    has_names: Option<Py<PyAny>>,
    numel: Py<PyAny>,
    is_inference: Py<PyAny>,
    /// `torch.autograd.graph.increment_version`, which torch 2.0 lacks.
    increment_version: Option<Py<PyAny>>,
    /// What torch 2.0 has instead: it takes the new version.
    set_version: Option<Py<PyAny>>,
}

/// A plain tensor that is being looked at. The Python object outlives it.
pub struct Held<'a> {
    doors: &'a Doors,
    object: *mut ffi::PyObject,
    /// The address of the tensor in its object is as good as a handle.
    native: Option<(&'a Reader, Aten)>,
}

/// What a kernel needs to know of a tensor. The data stays valid while the Python object lives.
#[derive(Clone, Copy, Debug)]
pub struct TensorView {
    /// Element type.
    pub dtype: DType,
    /// Sizes and strides.
    pub layout: Layout,
    /// The first element.
    pub data: *mut u8,
}

/// A new tensor, uninitialised.
pub struct NewTensor {
    /// The first element.
    pub data: *mut u8,
    made: Made,
}

enum Made {
    Handle(Handle, Wrap),
    Object(Py<PyAny>),
}

impl Doors {
    /// The best doors of this torch, no better than `best`.
    ///
    /// # Errors
    /// Where torch lacks what even the slowest tier needs.
    pub fn open(torch: &Bound<'_, PyModule>, best: Tier) -> PyResult<Self> {
        let tensor = torch.getattr("Tensor")?;
        let cpu = Library::with_prefix("libtorch_cpu.so");
        let maker = cpu.filter(|_| best <= Tier::DlPack).and_then(Maker::open);
        let reader = cpu
            .filter(|_| best <= Tier::Stable)
            .zip(maker)
            .and_then(|(cpu, maker)| Reader::open(cpu, &maker));
        let door = match reader.zip(Reader::learn_place(torch)?) {
            Some((reader, place)) => Door::Stable { reader, place },
            None if best <= Tier::DlPack => Self::exchange_table(&tensor).map_or(Door::Python, Door::DlPack),
            None => Door::Python,
        };
        let attribute = |path: &[&str]| {
            path.iter()
                .try_fold(torch.clone().into_any(), |object, name| object.getattr(*name))
                .map(Bound::unbind)
        };
        let increment_version = attribute(&["autograd", "graph", "increment_version"]).ok();
        let set_version = match &increment_version {
            Some(_) => None,
            None => Some(attribute(&["_C", "_autograd", "_unsafe_set_version_counter"])?),
        };
        Ok(Self {
            places: match &door {
                Door::Stable { reader, place } => Places::learn(torch, reader, *place)?,
                _ => None,
            },
            door,
            maker,
            parameter: torch.getattr("nn")?.getattr("Parameter")?.unbind(),
            strided: torch.getattr("strided")?.unbind(),
            dtypes: DType::ALL
                .into_iter()
                .map(|dtype| torch.getattr(dtype.name()).map(Bound::unbind))
                .collect::<PyResult<_>>()?,
            empty_strided: torch.getattr("empty_strided")?.unbind(),
            is_neg: tensor.getattr("is_neg")?.unbind(),
            has_names: tensor.getattr("has_names").ok().map(Bound::unbind),
            numel: tensor.getattr("numel")?.unbind(),
            is_inference: tensor.getattr("is_inference")?.unbind(),
            increment_version,
            set_version,
            tensor: tensor.unbind(),
        })
    }

    fn exchange_table(tensor: &Bound<'_, PyAny>) -> Option<Export> {
        let capsule = tensor.getattr("__dlpack_c_exchange_api__").ok()?;
        // SAFETY: the name is checked by Python; the table lives as long as the process; version 1 has this layout.
        unsafe {
            let table =
                ffi::PyCapsule_GetPointer(capsule.as_ptr(), c"dlpack_exchange_api".as_ptr()).cast::<ExchangeTable>();
            if table.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            if (*table).version[0] != 1 {
                return None;
            }
            (*table).dltensor_from_py_object
        }
    }

    /// Which tier this is.
    pub fn tier(&self) -> Tier {
        match self.door {
            Door::Stable { .. } => Tier::Stable,
            Door::DlPack(_) => Tier::DlPack,
            Door::Python => Tier::Python,
        }
    }

    /// Whether the object is exactly a `torch.Tensor` or a `torch.nn.Parameter`.
    ///
    /// # Safety
    /// The object is alive, and the GIL held.
    #[inline]
    pub unsafe fn is_plain(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: the caller's.
        let kind = unsafe { ffi::Py_TYPE(object) }.cast::<ffi::PyObject>();
        kind == self.tensor.as_ptr() || kind == self.parameter.as_ptr()
    }

    /// What of a plain tensor costs but a few loads, where torch keeps it in known places. functorch's wrappers may hold
    /// anything there: what passes for this has yet to be [read](Held::view).
    ///
    /// # Safety
    /// The object is a plain tensor that outlives the result, and the GIL is held.
    #[inline]
    pub unsafe fn outline(&self, object: *mut ffi::PyObject) -> Option<Outline> {
        // SAFETY: the caller's.
        self.places.as_ref().map(|places| unsafe { places.read(object) })
    }

    /// Takes hold of a plain tensor ([`Doors::is_plain`]), which must live as long as what is returned.
    ///
    /// # Safety
    /// The object is a plain tensor that outlives the result.
    #[inline]
    pub unsafe fn hold(&self, object: *mut ffi::PyObject) -> Held<'_> {
        Held {
            doors: self,
            object,
            native: match &self.door {
                // SAFETY: learned from objects of this type; what it holds lives as long as the object.
                Door::Stable { reader, place } => Some((reader, unsafe { object.byte_add(*place) }.cast())),
                _ => None,
            },
        }
    }

    /// Calls a method of `Tensor` without arguments.
    fn query(py: Python<'_>, method: &Py<PyAny>, object: *mut ffi::PyObject) -> Result<Py<PyAny>, Decline> {
        // SAFETY: the GIL is held and both objects are alive; the result is a new reference.
        let result = unsafe {
            let result = ffi::PyObject_CallFunctionObjArgs(method.as_ptr(), object, ptr::null_mut::<ffi::PyObject>());
            Bound::from_owned_ptr_or_opt(py, result)
        };
        result.map(Bound::unbind).ok_or_else(|| {
            // An exception here is torch's word that this is no plain tensor.
            drop(PyErr::take(py));
            Decline::Unreadable
        })
    }

    fn is_true(py: Python<'_>, method: &Py<PyAny>, object: *mut ffi::PyObject) -> Result<bool, Decline> {
        Ok(Self::query(py, method, object)?.is(pyo3::types::PyBool::new(py, true)))
    }

    /// # Safety
    /// `object` is a live tensor, and the GIL is held.
    unsafe fn read_dlpack(py: Python<'_>, export: Export, object: *mut ffi::PyObject) -> Result<TensorView, Decline> {
        const CPU: i32 = 1;
        const INT: u8 = 0;
        const UINT: u8 = 1;
        const FLOAT: u8 = 2;
        const BFLOAT: u8 = 4;
        const BOOL: u8 = 6;
        // SAFETY: all-zero is a valid value of the struct; the caller vouches for the object.
        unsafe {
            let mut view: DlTensor = std::mem::zeroed();
            if export(object.cast(), &raw mut view) != 0 {
                drop(PyErr::take(py));
                return Err(Decline::Unreadable);
            }
            if view.device_type != CPU {
                return Err(Decline::Device);
            }
            let dtype = match (view.code, view.bits, view.lanes) {
                (FLOAT, 32, 1) => DType::F32,
                (FLOAT, 64, 1) => DType::F64,
                (FLOAT, 16, 1) => DType::F16,
                (BFLOAT, 16, 1) => DType::Bf16,
                (INT, 64, 1) => DType::I64,
                (INT, 32, 1) => DType::I32,
                (INT, 16, 1) => DType::I16,
                (INT, 8, 1) => DType::I8,
                (UINT, 8, 1) => DType::U8,
                (BOOL, 8, 1) => DType::Bool,
                _ => return Err(Decline::Dtype),
            };
            let layout = layout_at(view.ndim as usize, view.shape, view.strides)?;
            let data = if view.data.is_null() {
                view.data
            } else {
                view.data.add(view.byte_offset as usize)
            };
            checked(dtype, layout, data)
        }
    }

    fn is_strided(&self, tensor: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = tensor.py();
        Ok(tensor.getattr(intern!(py, "layout"))?.is(&self.strided)
            && !tensor.getattr(intern!(py, "is_nested"))?.is_truthy()?)
    }

    fn read_python(&self, py: Python<'_>, object: *mut ffi::PyObject) -> Result<TensorView, Decline> {
        // SAFETY: the object is alive and the GIL held.
        let tensor = unsafe { Bound::from_borrowed_ptr(py, object) };
        let read = || -> PyResult<Result<TensorView, Decline>> {
            if !self.is_strided(&tensor)? {
                return Ok(Err(Decline::Unreadable));
            }
            if tensor.getattr(intern!(py, "is_meta"))?.is_truthy()?
                || !tensor
                    .getattr(intern!(py, "device"))?
                    .getattr(intern!(py, "type"))?
                    .eq("cpu")?
            {
                return Ok(Err(Decline::Device));
            }
            let dtype = tensor.getattr(intern!(py, "dtype"))?;
            let Some(index) = self.dtypes.iter().position(|known| dtype.is(known)) else {
                return Ok(Err(Decline::Dtype));
            };
            let sizes: Vec<i64> = tensor.getattr(intern!(py, "shape"))?.extract()?;
            let strides: Vec<i64> = tensor.call_method0(intern!(py, "stride"))?.extract()?;
            let data: usize = tensor.call_method0(intern!(py, "data_ptr"))?.extract()?;
            let layout = Layout::new(&sizes, &strides).ok_or(Decline::Layout);
            Ok(layout.and_then(|layout| checked(DType::ALL[index], layout, data as *mut u8)))
        };
        read().unwrap_or(Err(Decline::Unreadable))
    }

    /// A new tensor of this layout.
    ///
    /// # Errors
    /// Where it cannot be had, memory above all.
    pub fn empty(&self, py: Python<'_>, dtype: DType, layout: &Layout) -> Result<NewTensor, Decline> {
        if let Some(maker) = &self.maker {
            let (mut aten, mut data) = (ptr::null_mut(), ptr::null_mut());
            let (sizes, strides) = (layout.sizes(), layout.strides());
            // SAFETY: the slices have the stated length; the results are filled where 0 is returned.
            unsafe {
                let ndim = sizes.len() as i64;
                let dtype = maker.dtypes[dtype as usize];
                let make = maker.empty_strided;
                if make(
                    ndim,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    dtype,
                    maker.cpu,
                    0,
                    &raw mut aten,
                ) != 0
                {
                    return Err(Decline::Failed);
                }
                let handle = Handle {
                    delete: maker.delete,
                    aten,
                };
                if (maker.data)(aten, &raw mut data) != 0 {
                    return Err(Decline::Failed);
                }
                return Ok(NewTensor {
                    data,
                    made: Made::Handle(handle, maker.wrap),
                });
            }
        }
        let make = || -> PyResult<Py<PyAny>> {
            let kwargs = pyo3::types::PyDict::new(py);
            kwargs.set_item(intern!(py, "dtype"), &self.dtypes[dtype as usize])?;
            let (sizes, strides) = (PyTuple::new(py, layout.sizes())?, PyTuple::new(py, layout.strides())?);
            self.empty_strided.call(py, (sizes, strides), Some(&kwargs))
        };
        let object = make().map_err(|_| Decline::Failed)?;
        let view = match &self.door {
            // SAFETY: the tensor was just made.
            Door::DlPack(export) => unsafe { Self::read_dlpack(py, *export, object.as_ptr()) },
            _ => self.read_python(py, object.as_ptr()),
        };
        let data = view.map_err(|_| Decline::Failed)?.data;
        Ok(NewTensor {
            data,
            made: Made::Object(object),
        })
    }

    /// The type that autocast on the CPU makes of others, where the door can have it do so.
    pub fn autocast(&self) -> Option<DType> {
        let Door::Stable { reader, .. } = &self.door else {
            return None;
        };
        // SAFETY: takes the number of a device that autocast knows.
        let dtype = unsafe { (reader.autocast?.dtype)(reader.cpu as i8) };
        let index = reader.dtypes.iter().position(|&known| known == i32::from(dtype))?;
        DType::ALL.get(index).copied()
    }

    /// The new tensor as a Python object.
    ///
    /// # Errors
    /// Where Python has no memory for it.
    pub fn finish(&self, py: Python<'_>, tensor: NewTensor) -> Result<Py<PyAny>, Decline> {
        match tensor.made {
            Made::Object(object) => Ok(object),
            Made::Handle(handle, wrap) => wrap.object(py, handle),
        }
    }
}

impl Held<'_> {
    /// What autocast on the CPU makes of the tensor for an operation in this type: itself, or it in the type, and recorded
    /// for gradients if it is.
    ///
    /// # Errors
    /// Where the door cannot have it do so, or memory is short.
    pub fn autocast(&self, py: Python<'_>, dtype: DType) -> Result<Py<PyAny>, Decline> {
        let (Some((reader, held)), Some(maker)) = (self.native, &self.doors.maker) else {
            return Err(Decline::Mode);
        };
        let autocast = reader.autocast.ok_or(Decline::Mode)?;
        // An exception of C++ must not come here: memory that can be had now can be had for the cast.
        let layout = self.read(py, false)?.layout;
        let plain = Layout::contiguous(layout.sizes()).ok_or(Decline::Layout)?;
        drop(self.doors.empty(py, dtype, &plain)?);
        let mut aten = ptr::null_mut();
        // SAFETY: the handle is filled where 0 is returned; it points to the place of a tensor that is none, which needs
        // no farewell; what is held is a tensor.
        let handle = unsafe {
            if (autocast.handle)(&raw mut aten) != 0 {
                return Err(Decline::Failed);
            }
            let cast = (autocast.cast)(reader.dtypes[dtype as usize] as i8, held, reader.cpu as i8);
            *aten.cast() = cast.tensor();
            Handle {
                delete: maker.delete,
                aten,
            }
        };
        maker.wrap.object(py, handle)
    }

    /// Asks natively where the door can, else by the method of `Tensor`.
    fn ask(
        &self,
        py: Python<'_>,
        native: impl Fn(&Reader) -> Option<Ask<bool>>,
        method: &Py<PyAny>,
    ) -> Result<bool, Decline> {
        if let Some((reader, aten)) = self.native {
            if let Some(ask) = native(reader) {
                // SAFETY: the handle is a plain tensor's.
                return Ok(unsafe { ask(aten) });
            }
        }
        Doors::is_true(py, method, self.object)
    }

    /// Whether it asks for a gradient.
    ///
    /// # Errors
    /// Where torch raises.
    #[inline]
    pub fn requires_grad(&self, py: Python<'_>) -> Result<bool, Decline> {
        if let Some((
            Reader {
                requires_grad: Some(ask),
                ..
            },
            aten,
        )) = self.native
        {
            // SAFETY: a tensor is a pointer to its implementation, which is not null here.
            return Ok(unsafe { ask(*aten.cast::<*mut c_void>()) });
        }
        // SAFETY: the object is alive and the GIL held.
        let tensor = unsafe { Bound::from_borrowed_ptr(py, self.object) };
        let flag = tensor
            .getattr(intern!(py, "requires_grad"))
            .map_err(|_| Decline::Unreadable)?;
        Ok(flag.is(pyo3::types::PyBool::new(py, true)))
    }

    /// Number of elements.
    ///
    /// # Errors
    /// Where torch raises.
    #[inline]
    pub fn numel(&self, py: Python<'_>) -> Result<usize, Decline> {
        if let Some((reader, aten)) = self.native {
            let mut count = 0;
            // SAFETY: the handle is alive.
            return if unsafe { (reader.numel)(aten, &raw mut count) } == 0 {
                Ok(count as usize)
            } else {
                Err(Decline::Unreadable)
            };
        }
        let count = Doors::query(py, &self.doors.numel, self.object)?;
        count.extract(py).map_err(|_| Decline::Unreadable)
    }

    /// Whether its dtype is the one that a Python object is.
    ///
    /// # Errors
    /// Where torch raises.
    pub fn has_dtype(&self, py: Python<'_>, asked: *mut ffi::PyObject) -> Result<bool, Decline> {
        if let Some((reader, aten)) = self.native {
            let mut dtype = 0;
            // SAFETY: the handle is alive.
            let code = unsafe { (reader.dtype)(aten, &raw mut dtype) };
            let known = reader.dtypes.iter().zip(&self.doors.dtypes);
            return Ok(code == 0
                && known
                    .into_iter()
                    .any(|(&known, object)| known == dtype && object.as_ptr() == asked));
        }
        // SAFETY: the object is alive and the GIL held.
        let tensor = unsafe { Bound::from_borrowed_ptr(py, self.object) };
        let dtype = tensor.getattr(intern!(py, "dtype")).map_err(|_| Decline::Unreadable)?;
        Ok(dtype.as_ptr() == asked)
    }

    /// Whether torch's C functions read it, not Python's.
    #[inline]
    pub fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// Whether it was made in inference mode.
    ///
    /// # Errors
    /// Where torch raises.
    pub fn is_inference(&self, py: Python<'_>) -> Result<bool, Decline> {
        self.ask(py, |reader| reader.is_inference, &self.doors.is_inference)
    }

    /// Tells autograd that it was changed in place.
    ///
    /// # Errors
    /// Where torch raises.
    pub fn bump_version(&self, py: Python<'_>) -> Result<(), Decline> {
        if let Some((
            Reader {
                bump_version: Some(bump),
                ..
            },
            aten,
        )) = self.native
        {
            // SAFETY: the handle is a plain tensor's, and no inference tensor's.
            unsafe { bump(aten) };
            return Ok(());
        }
        if let Some(increment) = &self.doors.increment_version {
            return Doors::query(py, increment, self.object).map(drop);
        }
        let set = self.doors.set_version.as_ref().ok_or(Decline::Failed)?;
        // SAFETY: the object is alive and the GIL held.
        let tensor = unsafe { Bound::from_borrowed_ptr(py, self.object) };
        let bump = || -> PyResult<()> {
            let version: i64 = tensor.getattr(intern!(py, "_version"))?.extract()?;
            set.call1(py, (&tensor, version + 1)).map(drop)
        };
        bump().map_err(|_| Decline::Unreadable)
    }

    /// Reads it, which has floating-point numbers, to look at or to change (`mutable`); `profiled` avoids what a profiler
    /// would show.
    ///
    /// # Errors
    /// The reason why it is not for kernels.
    pub fn view(&self, py: Python<'_>, mutable: bool, profiled: bool) -> Result<TensorView, Decline> {
        let view = self.any_view(py, mutable, profiled)?;
        if view.dtype.is_float() {
            Ok(view)
        } else {
            Err(Decline::Dtype)
        }
    }

    /// The same of elements of any type.
    ///
    /// # Errors
    /// As of [`view`](Self::view).
    #[inline]
    pub fn any_view(&self, py: Python<'_>, mutable: bool, profiled: bool) -> Result<TensorView, Decline> {
        let view = self.read(py, mutable)?;
        let negative = || self.ask(py, |reader| reader.is_neg.filter(|_| !profiled), &self.doors.is_neg);
        if view.dtype.is_float() && negative()? {
            return Err(Decline::Negative);
        }
        Ok(view)
    }

    fn read(&self, py: Python<'_>, mutable: bool) -> Result<TensorView, Decline> {
        let doors = self.doors;
        if let Some(has_names) = &doors.has_names {
            let native = self.native.and_then(|(reader, aten)| Some((reader.has_names?, aten)));
            let named = match native {
                // SAFETY: a tensor is a pointer to its implementation, which is not null here.
                Some((ask, aten)) => unsafe { ask(*aten.cast::<*mut c_void>()) },
                None => Doors::is_true(py, has_names, self.object)?,
            };
            if named {
                return Err(Decline::NotPlain);
            }
        }
        if let Some((Reader { layout: None, .. }, _)) = self.native {
            // SAFETY: the object is alive and the GIL held.
            let tensor = unsafe { Bound::from_borrowed_ptr(py, self.object) };
            if !doors.is_strided(&tensor).unwrap_or(false) {
                return Err(Decline::Unreadable);
            }
        }
        match (&doors.door, self.native) {
            // SAFETY: the handle is alive, the tensor strided where the reader cannot tell, and the GIL held.
            (_, Some((reader, aten))) => unsafe { read_stable(reader, aten, mutable) },
            // SAFETY: the object is a live tensor; what the table points to lives until control returns.
            (Door::DlPack(export), _) => unsafe { Doors::read_dlpack(py, *export, self.object) },
            _ => doors.read_python(py, self.object),
        }
    }
}

/// # Safety
/// `aten` is a live handle, and the GIL is held.
#[inline(always)] // as are those below: copies of what is read would take longer than to read it
unsafe fn read_stable(reader: &Reader, aten: Aten, mutable: bool) -> Result<TensorView, Decline> {
    let ok = |code: i32| if code == 0 { Ok(()) } else { Err(Decline::Unreadable) };
    // SAFETY: each function fills its result where it returns 0, and sizes and strides live as long as the tensor.
    unsafe {
        let (mut device, mut layout, mut dtype, mut ndim) = (0, 0, 0, 0);
        ok((reader.dtype)(aten, &raw mut dtype))?;
        let index = reader.dtypes.iter().position(|&known| known == dtype);
        let index = index.ok_or(Decline::Dtype)?;
        ok((reader.device)(aten, &raw mut device))?;
        if device != reader.cpu {
            return Err(Decline::Device);
        }
        if let Some((get, strided)) = reader.layout {
            ok(get(aten, &raw mut layout))?;
            if layout != strided {
                return Err(Decline::Unreadable);
            }
        }
        ok((reader.dim)(aten, &raw mut ndim))?;
        let (mut sizes, mut strides, mut data) = (ptr::null(), ptr::null(), ptr::null_mut());
        ok((reader.sizes)(aten, &raw mut sizes))?;
        ok((reader.strides)(aten, &raw mut strides))?;
        let layout = layout_at(ndim as usize, sizes, strides)?;
        ok((if mutable {
            reader.mutable_data
        } else {
            reader.const_data
        })(aten, &raw mut data))?;
        checked(DType::ALL[index], layout, data)
    }
}

/// # Safety
/// `sizes` and `strides` point to `ndim` values each.
#[inline(always)]
unsafe fn layout_at(ndim: usize, sizes: *const i64, strides: *const i64) -> Result<Layout, Decline> {
    if ndim == 0 {
        return Layout::new(&[], &[]).ok_or(Decline::Layout);
    }
    if ndim > MAX_DIMS || sizes.is_null() || strides.is_null() {
        return Err(Decline::Layout);
    }
    // SAFETY: the caller's.
    let (sizes, strides) = unsafe {
        (
            std::slice::from_raw_parts(sizes, ndim),
            std::slice::from_raw_parts(strides, ndim),
        )
    };
    Layout::new(sizes, strides).ok_or(Decline::Layout)
}

/// The view, if there is data and it is aligned.
#[inline(always)]
fn checked(dtype: DType, layout: Layout, data: *mut u8) -> Result<TensorView, Decline> {
    if layout.numel() == 0 {
        return Err(Decline::Empty);
    }
    // Fake tensors and wrapper subclasses have none; a view of bytes may start anywhere.
    if data.is_null() || !(data as usize).is_multiple_of(dtype.size()) {
        return Err(Decline::Unreadable);
    }
    Ok(TensorView { dtype, layout, data })
}
