// Writes ONNX models: the few messages of onnx.proto3 that a graph without control flow needs, as protobuf bytes.
// Knows the file format and nothing of ours; onnx.ts and the ops' onnx.ts files say what to write.
import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** TensorProto.DataType, as far as used here. */
const ONNX_DTYPE = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7 } as const;
export type OnnxDtype = keyof typeof ONNX_DTYPE;

/** A number is written as a float, a bigint (or a list of them) as int64. */
export type OnnxAttribute = number | bigint | string | readonly bigint[];

export interface OnnxNode {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
  /** "" is ONNX itself, "com.microsoft" onnxruntime's own operators. */
  readonly domain?: string;
}

/** A constant. Data named by `path` lies outside the model, in a file of that name from its first byte on. */
export interface OnnxInitializer {
  readonly name: string;
  readonly dtype: OnnxDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array | { readonly path: string; readonly bytes: number };
}

/** A graph input or output; a string is a dimension known only at run time. */
export interface OnnxValueInfo {
  readonly name: string;
  readonly dtype: OnnxDtype;
  readonly shape: readonly (number | string)[];
}

export interface OnnxModel {
  readonly name: string;
  /** Version per domain, "" for ONNX itself. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
}

const IR_VERSION = 10;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 } as const;
const EXTERNAL_DATA = 1;

/** Bytes of a ModelProto. Field numbers are those of onnx.proto3. */
export function writeOnnxModel(model: OnnxModel): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  writer.uint32(tag(1, VARINT)).int64(IR_VERSION);
  writer.uint32(tag(2, BYTES)).string("hyades");
  message(writer, 7, (graph) => writeGraph(graph, model));
  for (const [domain, version] of Object.entries(model.opsets)) {
    message(writer, 8, (opset) => {
      opset.uint32(tag(1, BYTES)).string(domain);
      opset.uint32(tag(2, VARINT)).int64(version);
    });
  }
  return writer.finish();
}

function writeGraph(writer: BinaryWriter, model: OnnxModel): void {
  for (const node of model.nodes) message(writer, 1, (inner) => writeNode(inner, node));
  writer.uint32(tag(2, BYTES)).string(model.name);
  for (const tensor of model.initializers) message(writer, 5, (inner) => writeInitializer(inner, tensor));
  for (const value of model.inputs) message(writer, 11, (inner) => writeValueInfo(inner, value));
  for (const value of model.outputs) message(writer, 12, (inner) => writeValueInfo(inner, value));
}

function writeNode(writer: BinaryWriter, node: OnnxNode): void {
  for (const input of node.inputs) writer.uint32(tag(1, BYTES)).string(input);
  for (const output of node.outputs) writer.uint32(tag(2, BYTES)).string(output);
  writer.uint32(tag(4, BYTES)).string(node.type);
  for (const [name, value] of Object.entries(node.attributes ?? {})) {
    message(writer, 5, (inner) => writeAttribute(inner, name, value));
  }
  if (node.domain) writer.uint32(tag(7, BYTES)).string(node.domain);
}

function writeAttribute(writer: BinaryWriter, name: string, value: OnnxAttribute): void {
  writer.uint32(tag(1, BYTES)).string(name);
  if (typeof value === "number") {
    writer.uint32(tag(2, FIXED32)).float(value);
    writer.uint32(tag(20, VARINT)).int32(ATTRIBUTE_TYPE.float);
  } else if (typeof value === "bigint") {
    writer.uint32(tag(3, VARINT)).int64(value);
    writer.uint32(tag(20, VARINT)).int32(ATTRIBUTE_TYPE.int);
  } else if (typeof value === "string") {
    writer.uint32(tag(4, BYTES)).string(value);
    writer.uint32(tag(20, VARINT)).int32(ATTRIBUTE_TYPE.string);
  } else {
    for (const item of value) writer.uint32(tag(8, VARINT)).int64(item);
    writer.uint32(tag(20, VARINT)).int32(ATTRIBUTE_TYPE.ints);
  }
}

function writeInitializer(writer: BinaryWriter, tensor: OnnxInitializer): void {
  for (const dimension of tensor.shape) writer.uint32(tag(1, VARINT)).int64(dimension);
  writer.uint32(tag(2, VARINT)).int32(ONNX_DTYPE[tensor.dtype]);
  writer.uint32(tag(8, BYTES)).string(tensor.name);
  if (tensor.data instanceof Uint8Array) {
    writer.uint32(tag(9, BYTES)).bytes(tensor.data);
    return;
  }
  const entries = { location: tensor.data.path, offset: "0", length: String(tensor.data.bytes) };
  for (const [key, value] of Object.entries(entries)) {
    message(writer, 13, (entry) => {
      entry.uint32(tag(1, BYTES)).string(key);
      entry.uint32(tag(2, BYTES)).string(value);
    });
  }
  writer.uint32(tag(14, VARINT)).int32(EXTERNAL_DATA);
}

function writeValueInfo(writer: BinaryWriter, value: OnnxValueInfo): void {
  writer.uint32(tag(1, BYTES)).string(value.name);
  message(writer, 2, (type) =>
    message(type, 1, (tensor) => {
      tensor.uint32(tag(1, VARINT)).int32(ONNX_DTYPE[value.dtype]);
      message(tensor, 2, (shape) => {
        for (const size of value.shape) message(shape, 1, (dimension) => writeDimension(dimension, size));
      });
    }));
}

function writeDimension(writer: BinaryWriter, size: number | string): void {
  if (typeof size === "number") writer.uint32(tag(1, VARINT)).int64(size);
  else writer.uint32(tag(2, BYTES)).string(size);
}

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType;
}

function message(writer: BinaryWriter, field: number, write: (inner: BinaryWriter) => void): void {
  writer.uint32(tag(field, BYTES)).fork();
  write(writer);
  writer.join();
}
