import CMPI

/// A number that the library can add and compare.
public protocol ReducibleElement: BitwiseCopyable {
    static var elementType: ElementType { get }
}

/// The library's type of an element.
public struct ElementType: Sendable {
    /// A function, because the handles are addresses known only at run time.
    let handle: @Sendable () -> MPI_Datatype
}

extension Float: ReducibleElement {
    public static var elementType: ElementType { ElementType { cmpi_float() } }
}

extension Double: ReducibleElement {
    public static var elementType: ElementType { ElementType { cmpi_double() } }
}

extension Int64: ReducibleElement {
    public static var elementType: ElementType { ElementType { cmpi_int64() } }
}
